"""What is wrong with a prompt although its API could read it: found before an account is taken.

Rule: each check raises RequestError (400) naming the client's own field, which the prompt's parts carry as `param`.
"""

from collections.abc import Callable
from typing import Any

from shim.errors import RequestError
from shim.protocol.prompt import Prompt

MAX_FILES = 20  # a request; upstream's own page takes no more in a message either

CheckSchema = Callable[[dict[str, Any], str], None]
"""(JSON schema, its param): raises RequestError where it is not one"""


def check_prompt(prompt: Prompt, *, kept: bool, check_parameters: CheckSchema, check_schema: CheckSchema) -> None:
    """Raises RequestError (400) where the prompt can't be served as it stands. `kept` says that chats are; the schemas
    of functions have to describe an object, the one of an answer may describe anything."""
    if prompt.continues and not kept:
        raise RequestError(
            "Chats are not kept here (HISTORY_DISABLED), so there is no conversation to continue.",
            param=prompt.continues.param,
            code="history_disabled",
        )
    for function in prompt.functions:
        check_parameters(function.schema or {}, function.param)
    form = prompt.answer_form
    if form is not None and form.schema is not None and form.param is not None:
        check_schema(form.schema, form.param)
    attached = prompt.attached
    if len(attached) > MAX_FILES:
        raise RequestError(
            f"A request may have at most {MAX_FILES} files and pictures, this one has {len(attached)}.",
            param=attached[MAX_FILES].param,
            code="too_many_files",
        )
