"""Files and pictures a request brings: read or fetched, recognised, and uploaded once for each account."""

from shim.files.intake import Files, Gathered

__all__ = ["Files", "Gathered"]
