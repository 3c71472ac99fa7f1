"""What every admin route answers where a store is away. The pages are one router, what programs read are others."""

from typing import Any

from litestar import Request
from litestar.types import ExceptionHandler

from shim.accounts.stores import StoreError
from shim.apis import openai_errors
from shim.errors import UnavailableError
from shim.http.errors import error_response
from shim.keys import KeyStoreError
from shim.notes import NotesError


def _away(what: str) -> "ExceptionHandler[Any]":
    """503: nothing was changed, because the store could not be reached."""

    def refused(request: Request[Any, Any, Any], error: Exception) -> Any:
        unavailable = UnavailableError(f"The store of {what} can't be reached: {error}")
        return error_response(request, unavailable, openai_errors.refuse)

    return refused


STORES_AWAY: "dict[int | type[Exception], ExceptionHandler[Any]]" = {
    StoreError: _away("accounts"),
    KeyStoreError: _away("keys"),
    NotesError: _away("usage"),
}
