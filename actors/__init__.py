"""The actors: independent objects that talk only by messages."""
