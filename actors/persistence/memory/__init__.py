"""The store in memory."""

from .store import MemoryStore, Snapshot

__all__ = ["MemoryStore", "Snapshot"]
