"""Pages of items, the newest first unless `order` is `asc`."""

import re
from collections.abc import Mapping, Sequence

import msgspec

from shim.apis.responses.kept import name_of
from shim.apis.responses.wire import ItemList
from shim.errors import RequestError

# As OpenAI's API has it, whose clients ask for no more.
_MOST_ITEMS = 100


def page_of(items: Sequence[msgspec.Raw], query: Mapping[str, str]) -> ItemList:
    """The page that a query asks for (`limit`, `order`, `after`). Raises RequestError (400)."""
    limit, order, after = query.get("limit", "20"), query.get("order", "desc"), query.get("after")
    # No more digits than the number could need: beyond 4,300 of them Python refuses to read it.
    if not re.fullmatch(r"[0-9]{1,9}", limit) or not 1 <= int(limit) <= _MOST_ITEMS:
        raise RequestError(f"'limit' must be from 1 to {_MOST_ITEMS}.", param="limit", code="invalid_value")
    if order not in {"asc", "desc"}:
        raise RequestError("'order' must be 'asc' or 'desc'.", param="order", code="invalid_value")
    named = [(name_of(item), item) for item in items]
    if order == "desc":
        named.reverse()
    ids = [id for id, _ in named]
    if after is not None and after not in ids:
        raise RequestError("There is no such item to begin after.", param="after", code="invalid_value")
    start = ids.index(after) + 1 if after is not None else 0
    return listed([item for _, item in named[start : start + int(limit)]], more=start + int(limit) < len(named))


def listed(items: list[msgspec.Raw], *, more: bool = False) -> ItemList:
    """Items as a list; `more` is whether others come after them."""
    return ItemList(
        items,
        name_of(items[0]) if items else None,
        name_of(items[-1]) if items else None,
        has_more=more,
    )
