"""What a stand-in is told when it is created."""

import time
from collections.abc import Callable

import msgspec

from shim.standin.accounts import Account
from shim.standin.chunks import Chunking
from shim.standin.encode import Encoding, Escapes


class StandinOptions(msgspec.Struct, frozen=True, kw_only=True):
    """All knobs of one stand-in; each turn may override some with directives.

    script: what to play; "auto" = reasoning for thinking models, citations with the search hint, else text.
    delay: seconds after each event. encoding None = as the turn asks. words: length of script long.
    expire_after: life of a requirement token in seconds. seed None = different every time.
    reuse: make the stream of equal turns only once, ids included, so that a bench pays for sending alone.
    gzip: compress every answer where the caller accepts it.
    oauth_gone: /oauth/token answers 404, as the old host does (protocol.md 8).
    check_p: whether a `p` is checked (protocol.md 2.4). control: directives and /standin/* are honoured.
    understands: plain words ask for code, a table, a picture and so on, as in the demo.
    """

    accounts: tuple[Account, ...] = ()
    difficulty: str = "0fffff"
    expire_after: int = 540
    require_sentinel: bool = True
    check_p: bool = True
    oauth_gone: bool = False
    script: str = "auto"
    words: int = 3000
    delay: float = 0.0
    chunks: Chunking = "event"
    encoding: Encoding | None = None
    escapes: Escapes = "mixed"
    noise: bool = True
    gzip: bool = False
    seed: int | None = None
    max_characters: int = 500_000
    reuse: bool = False
    control: bool = True
    understands: bool = False
    clock: Callable[[], float] = time.time
