"""What all our stores need of SQLite, of Redis and of the operator's key, whatever they keep there.

Rule: an error names the file or the server, never a row, a password or a key.
"""


class DatabaseError(Exception):
    """A database can't be used as it is set up. The text says why."""
