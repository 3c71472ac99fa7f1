"""Files and pictures a request brings: read or fetched, recognised, and uploaded once for each account."""

from shim.files.intake import Files, Gathered, GatheredFile, Placed

__all__ = ["Files", "Gathered", "GatheredFile", "Placed"]
