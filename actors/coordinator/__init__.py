"""The coordinator: election, and on the leader the life of every run."""
