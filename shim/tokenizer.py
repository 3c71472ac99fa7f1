"""The o200k tokenizer, offline: its vocabulary is inside the package `bpe-openai`.

Rule: loading takes about half a second and 130 MB, so it happens once, at the first use or in `load`, never at import.
Counting is linear in the text and releases the GIL.
"""

from collections.abc import Callable
from functools import cache

_SURROGATE_SAFE = "surrogatepass"


@cache
def load() -> Callable[[str], int]:
    """The counting function of the Rust tokenizer."""
    # The package's public wrapper refuses texts of a megabyte and more; the binding below it has no such limit.
    from bpe_openai import _bindings  # type: ignore[import-untyped]  # noqa: PLC0415

    count: Callable[[str], int] = _bindings.tokenizer_for_encoding("o200k_base").count
    return count


def count(text: str) -> int:
    """How many o200k tokens `text` is, special tokens taken as plain text."""
    try:
        return load()(text)
    except UnicodeEncodeError:
        return load()(text.encode("utf-16", _SURROGATE_SAFE).decode("utf-16", "replace"))
