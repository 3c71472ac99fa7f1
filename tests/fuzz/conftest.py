"""What the fuzzers share: how much they try, and ways to spoil JSON and bytes.

Rule: without FUZZ_EXAMPLES every run tries the same examples and takes about a minute; `FUZZ_EXAMPLES=20000` tries that
many, by fresh chance each time.
"""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

ASKED = os.environ.get("FUZZ_EXAMPLES", "")
MARKS = "".join(chr(code) for code in range(0xE200, 0xE207))
Draw = Callable[[st.SearchStrategy[Any]], Any]

settings.register_profile(
    "fuzz",
    max_examples=int(ASKED or 300),
    derandomize=not ASKED,
    database=None,
    deadline=None if ASKED else 5_000,  # milliseconds for one example
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


# Of each operation a third: to bring forth one request that fits our description takes 20 to 50 ms, of which 2 are the
# gateway's, and there are twenty operations.
settings.register_profile("operations", settings.get_profile("fuzz"), max_examples=int(ASKED or 100))


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


# Values that are rarely foreseen. Text first: what shrinks, shrinks to it.
STRANGE: list[Any] = [
    "",
    None,
    True,
    False,
    0,
    -1,
    1,
    1.5,
    2**31,
    2**64,
    -(2**80),
    1e308,
    [],
    {},
    [[]],
    [None],
    [""],
    {"": None},
    {"type": "text"},
    "\ud800",
    "\udc00 half",
    "\x00",
    "\r\n\r\ndata: [DONE]\r\n",
    "\u2028\u2029\x85",
    "\U0010ffff",
    "\u202e\u0301é",
    "x" * 70_000,
    f"{MARKS[0]}cite{MARKS[2]}turn0search0{MARKS[1]}",
    MARKS,
    MARKS[0],
    "](sandbox:/mnt/data/a.csv",
    "```",
    "all",
    "assistant",
    "tool",
    "system",
    "user",
    "finished_successfully",
    "/message/content/parts/0",
    "/message/content/parts/-1",
    "/",
    "append",
    "patch",
    "remove",
    "truncate",
    "code",
    "multimodal_text",
    "execution_output",
    "thoughts",
]
NESTED = [_nested(30), _nested(400), {"a": _nested(40)}]


@pytest.fixture(scope="session")
def spoil() -> Callable[[Draw, Any], Any]:
    """`spoil(draw, value)`: a JSON value with one place in it replaced, removed, renamed or doubled."""
    return _spoiled


def _spoiled(draw: Draw, value: Any) -> Any:
    if isinstance(value, dict) and value and draw(st.integers(0, 7)):
        return _spoiled_object(draw, value)
    if isinstance(value, list) and value and draw(st.integers(0, 7)):
        return _spoiled_list(draw, value)
    if isinstance(value, str) and draw(st.booleans()):
        cut = draw(st.integers(0, len(value)))
        return value[:cut] + draw(_text) + value[cut:]
    return draw(_strange)


def _spoiled_object(draw: Draw, value: dict[str, Any]) -> dict[str, Any]:
    key = draw(st.sampled_from(sorted(value)))
    match draw(st.sampled_from(("into", "into", "into", "remove", "rename", "add"))):
        case "remove":
            return {name: one for name, one in value.items() if name != key}
        case "rename":
            return {draw(_text) if name == key else name: one for name, one in value.items()}
        case "add":
            return value | {draw(_text): draw(_strange)}
        case _:
            return value | {key: _spoiled(draw, value[key])}


def _spoiled_list(draw: Draw, value: list[Any]) -> list[Any]:
    place = draw(st.integers(0, len(value) - 1))
    match draw(st.sampled_from(("into", "into", "into", "remove", "double", "swap"))):
        case "remove":
            return value[:place] + value[place + 1 :]
        case "double":
            return value[: place + 1] + value[place:]
        case "swap":
            return value[place:] + value[:place]
        case _:
            return [*value[:place], _spoiled(draw, value[place]), *value[place + 1 :]]


@pytest.fixture(scope="session")
def break_bytes() -> Callable[[Draw, bytes], bytes]:
    """`break_bytes(draw, body)`: a slice of it removed, doubled or overwritten."""

    def broken(draw: Draw, body: bytes) -> bytes:
        start = draw(st.integers(0, len(body)))
        end = min(len(body), start + draw(st.sampled_from((0, 1, 2, 5, 40, 10_000))))
        middle = draw(st.sampled_from(_RUBBISH) | st.binary(max_size=8) | st.just(body[start:end] * 2))
        return body[:start] + middle + body[end:]

    return broken


@pytest.fixture(scope="session")
def as_json() -> Callable[[Draw, Any], bytes]:
    """`as_json(draw, value)`: its bytes, with escapes or without; half a surrogate has to be escaped."""

    def encoded(draw: Draw, value: Any) -> bytes:
        text = json.dumps(value, ensure_ascii=draw(st.booleans()))
        return text.encode(errors="surrogatepass")

    return encoded


_strange = st.sampled_from(STRANGE) | st.sampled_from(NESTED) | st.text(max_size=6) | st.integers()
_text = st.sampled_from([one for one in STRANGE if isinstance(one, str)]) | st.text(max_size=6)
_RUBBISH = (
    b"",
    b"\r",
    b"\n",
    b"\n\n",
    b"\x00",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    "\ue200".encode(),
    "\ue201".encode(),
    b"data: ",
    b"data: [DONE]\n\n",
    b"event: delta\n",
    b'"',
    b"}",
    b"[" * 2000,
    b"NaN",
    b"1e999",
    b"9" * 5000,
    b"\\ud800",
)
