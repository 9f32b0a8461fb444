"""What a node answers over HTTP, when it is asked to: health and metrics."""

from .server import HttpServer

__all__ = ["HttpServer"]
