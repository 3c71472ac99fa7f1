"""The model list as the Anthropic API has it: `anthropic-version` in a request asks for this form."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec

from shim.apis.models.wire import Model
from shim.errors import RequestError

# The most that Anthropic's API gives in a page. Without a `limit` it gives 20: of ours clients that read one page only
# would not see all.
MOST = 1000


class AnthropicModel(msgspec.Struct, frozen=True, tag="model"):
    """One model. `created_at` is when this gateway learned of it; what `capabilities` would say is not known."""

    id: str
    display_name: str
    created_at: str
    lifecycle: Literal["active"] = "active"
    max_input_tokens: int | None = None
    max_tokens: None = None
    capabilities: None = None


class AnthropicModelList(msgspec.Struct, frozen=True):
    """A page of them."""

    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


def described(model: Model) -> AnthropicModel:
    """A model in this form."""
    learned = datetime.fromtimestamp(model.created, UTC).isoformat().replace("+00:00", "Z")
    title, context = model.display_name, model.context_window
    return AnthropicModel(model.id, title or model.id, learned, max_input_tokens=context or None)


def page(models: Sequence[Model], query: Mapping[str, str]) -> AnthropicModelList:
    """The page that `limit`, `after_id` and `before_id` ask for. Without a limit it has as many as may be: clients that
    look at one page only shall find theirs. Raises RequestError (400)."""
    ids = [model.id for model in models]
    first, end = 0, len(models)
    if (after := query.get("after_id")) is not None:
        first = _place(ids, after, "after_id") + 1
    if (before := query.get("before_id")) is not None:
        end = _place(ids, before, "before_id")
    given, limit = query.get("limit"), MOST
    if given is not None:
        # No more digits than the number could need: beyond 4,300 of them Python refuses to read it.
        if not (given.isascii() and given.isdecimal() and len(given) < 10 and 1 <= int(given) <= MOST):
            raise RequestError(f"'limit' must be a number from 1 to {MOST}.", param="limit", code="invalid_value")
        limit = int(given)
    shown = range(first, end)[:limit] if before is None else range(first, end)[-limit:]
    data = [described(models[place]) for place in shown]
    more = len(shown) < len(range(first, end))
    return AnthropicModelList(data, more, data[0].id if data else None, data[-1].id if data else None)


def _place(ids: Sequence[str], id: str, field: str) -> int:
    if id not in ids:
        raise RequestError(f"There is no model '{id[:100]}'.", param=field, code="invalid_value")
    return ids.index(id)
