"""Metrics: counts every event."""
