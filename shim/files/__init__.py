"""Files and pictures of a request: read or fetched, their type recognised, and uploaded once for each account."""

from shim.files.intake import Files, Gathered

__all__ = ["Files", "Gathered"]
