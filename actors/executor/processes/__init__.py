"""Worker processes: the pool in the parent, the worker in the child, and the channel between them."""
