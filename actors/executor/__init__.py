"""The executor: the actor, its port to the world (the runner), and the pools behind it."""
