"""Notes: bounded, expiring values by key, for whatever has to be found again by another worker or after a restart.

shelf.put / add / get / delete / page  ──>  Notes (bounds, sealing)  ──>  a file in DATA_DIR, or Redis
"""

from shim.notes.base import Note, NotesError, NoteTooLargeError, needed
from shim.notes.shelf import Notes, Shelf, open_notes

__all__ = ["Note", "NoteTooLargeError", "Notes", "NotesError", "Shelf", "needed", "open_notes"]
