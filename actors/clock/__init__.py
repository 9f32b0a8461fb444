"""The clock: the heap of next due instants."""
