"""Clients: the embedded scheduler and its handles."""
