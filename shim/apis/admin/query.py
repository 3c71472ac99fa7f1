"""What the admin API is asked with beside its paths."""

from typing import Any

from litestar import Request

from shim.errors import RequestError


def number(request: Request[Any, Any, Any], name: str, default: int, low: int, high: int) -> int:
    """A whole number of the query. Raises RequestError for anything else, and beyond its bounds."""
    text = request.query_params.get(name, str(default))
    # `isdigit` alone takes digits of any script; the length keeps a number of a million digits from being converted.
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 12 else -1
    if not low <= value <= high:
        raise RequestError(f"'{name}' has to be a whole number from {low} to {high}", param=name)
    return value
