"""What every Python program here shares: where the gateway is, and how it is asked for one part after the other.

A line on standard input, `{"part": "chat", "key": "...", "inputs": {...}}`, is answered by one on standard output:
`{"answer": ...}` or, where the part raised, `{"failed": "Traceback ..."}`. Every program has the part `printed`.

Rule: a part takes and returns JSON, and calls its client as that client's users do: with a base URL and a key alone.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from typing import Any


class Gateway:
    """Where every part asks; the key is that of the line being answered."""

    url = os.environ["BASE_URL"]
    model = os.environ["MODEL"]
    key = ""


gateway = Gateway()


def serve(*parts: Callable[..., Any]) -> None:
    """Answer lines until there are no more. What a client prints by itself goes to standard error."""
    known = {part.__name__: part for part in (*parts, printed)}
    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        asked = json.loads(line)
        gateway.key = asked["key"]
        print(json.dumps(_answer(known[asked["part"]], asked["inputs"])), file=answers, flush=True)


def _answer(part: Callable[..., Any], inputs: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"answer": part(**inputs)}
    except Exception:  # noqa: BLE001  whatever a client raises is for the test to read
        return {"failed": traceback.format_exc()}


def printed(code: str) -> str:
    """What a program of the documentation prints."""
    with redirect_stdout(StringIO()) as said:
        exec(code, {"__name__": "__main__"})
    return said.getvalue()


def raised(act: Callable[[], Any]) -> dict[str, Any]:
    """What a user sees of a refusal: the exception's class, its status and its message."""
    try:
        act()
    except Exception as error:  # noqa: BLE001  which class it is, is what is asked
        return {"kind": type(error).__name__, "text": str(error), "status": error.status_code}
    return {"kind": None}
