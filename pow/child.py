"""One of `Children`: `python -m pow.child` answers orders on standard input until there is no one left to give any."""

import contextlib
import marshal
import os
import sys

from pow.children import Order
from pow.hashing import NICENESS, find


def main() -> None:
    """Runs to the end of the input."""
    os.nice(NICENESS)
    with contextlib.suppress(EOFError, OSError):  # the parent is gone, before an order or before the answer
        while True:
            order: Order = marshal.load(sys.stdin.buffer)  # noqa: S302  our own parent, of the same interpreter
            marshal.dump(find(*order), sys.stdout.buffer)
            sys.stdout.flush()


if __name__ == "__main__":
    main()
