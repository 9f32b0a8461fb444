"""The registry: job definitions, and the door through which clients come."""
