"""What the form of an upload and the query of a list ask for."""

from collections.abc import Iterable, Mapping

import msgspec

from shim.apis.decoding import missing
from shim.errors import RequestError
from shim.files.kept import LONGEST, KeptFiles

CURSOR = "page_"
"""What the name of a page begins with; the id behind which it begins follows"""

# Each is looked up by itself.
_MOST_IDS = 100
_PURPOSES = {"assistants", "vision", "user_data"}
_JOBS = {"batch", "fine-tune", "evals"}
# Seconds. The least that OpenAI's API takes for `expires_after`, so that clients hear of a mistake here, too.
_SHORTEST = 3600
_ANCHOR, _SECONDS = "expires_after[anchor]", "expires_after[seconds]"


class Upload(msgspec.Struct, frozen=True):
    """What is said of a file. It is known for so many seconds."""

    purpose: str
    seconds: int


class FilePage(msgspec.Struct, frozen=True):
    """Which files are listed: at most `limit`, behind the one with the id `after`; or, with `turned`, the nearest
    before it."""

    limit: int
    after: str | None = None
    newest_first: bool = True
    purpose: str | None = None
    turned: bool = False


def read_upload(fields: Mapping[str, str], *, purpose: str | None) -> Upload:
    """The fields of a form; `purpose` is the one that is meant where there is none. Raises RequestError (400)."""
    given = fields.get("purpose", purpose)
    if given is None:
        raise missing("purpose")
    if given in _JOBS:
        raise RequestError(
            f"The ChatGPT web backend has no jobs that take a file for '{given}'.",
            param="purpose",
            code="unsupported_purpose",
        )
    if given not in _PURPOSES:
        raise RequestError(
            f"'purpose' must be one of {', '.join(sorted(_PURPOSES))}.", param="purpose", code="invalid_value"
        )
    if fields.get(_ANCHOR, "created_at") != "created_at":
        raise RequestError(f"'{_ANCHOR}' must be created_at.", param="expires_after", code="invalid_value")
    if _ANCHOR in fields and _SECONDS not in fields:
        raise RequestError(f"'{_ANCHOR}' needs '{_SECONDS}'.", param="expires_after", code="invalid_value")
    return Upload(given, _number(fields, _SECONDS, (_SHORTEST, LONGEST), LONGEST, "expires_after"))


def read_page(query: Mapping[str, str]) -> FilePage:
    """OpenAI's `limit`, `after`, `order` and `purpose`. Raises RequestError (400)."""
    order = query.get("order", "desc")
    if order not in {"asc", "desc"}:
        raise RequestError("'order' must be asc or desc.", param="order", code="invalid_value")
    limit = _number(query, "limit", (1, 10_000), 10_000)
    return FilePage(limit, _place(query, "after"), order == "desc", query.get("purpose"))


def read_anthropic_page(query: Mapping[str, str]) -> FilePage:
    """Anthropic's `limit` and `page`, or `after_id` and `before_id` of its older clients. Raises RequestError (400)."""
    limit = _number(query, "limit", (1, 1000), 20)
    if (before := _place(query, "before_id")) is not None:
        if "after_id" in query:
            raise RequestError("'after_id' and 'before_id' do not go together.", param="before_id")
        return FilePage(limit, before, newest_first=False, turned=True)
    if (cursor := query.get("page")) is not None:
        if not cursor.startswith(CURSOR) or not KeptFiles.is_id(cursor.removeprefix(CURSOR)):
            raise RequestError("'page' is not one that a list has named.", param="page", code="invalid_value")
        return FilePage(limit, cursor.removeprefix(CURSOR))
    return FilePage(limit, _place(query, "after_id"))


def _place(query: Mapping[str, str], name: str) -> str | None:
    """The id that a page begins at. It may be that of a file which is forgotten meanwhile, but not any text: a list
    would begin anew, and a client that asks page by page never end."""
    id = query.get(name)
    if id is not None and not KeptFiles.is_id(id):
        raise RequestError(f"No such File object: {id[:64]}", param=name, code="invalid_value")
    return id


def read_ids(query: Iterable[tuple[str, str]]) -> list[str]:
    """The ids that Anthropic's clients may ask for instead of a page, each once. Raises RequestError (400)."""
    ids = list(dict.fromkeys(value for name, value in query if name in {"ids", "ids[]"}))
    if len(ids) > _MOST_IDS:
        raise RequestError(f"'ids' may name at most {_MOST_IDS} files.", param="ids", code="invalid_value")
    return ids


def _number(
    fields: Mapping[str, str], name: str, bounds: tuple[int, int], default: int, param: str | None = None
) -> int:
    given, (least, most) = fields.get(name), bounds
    if given is None:
        return default
    # No longer than any number within the bounds: Python reads no number of thousands of digits.
    if not (given.isascii() and given.isdecimal() and len(given) < 10 and least <= int(given) <= most):
        text = f"'{name}' must be a number from {least} to {most}."
        raise RequestError(text, param=param or name, code="invalid_value")
    return int(given)
