"""What the demo does when it is asked in plain words: code, a table, a picture, a tool, a call of a function, a limit.

Rule: words are looked for, nothing is understood; every answer says that it is prepared. Only `understands` of the
options turns this on, so that a test that asks for a table gets the usual answer.
"""

import itertools
import re
from typing import Any

import msgspec

from shim.standin import wording
from shim.standin.directives import Directives
from shim.standin.incoming import ConversationRequest

# The first that is found counts, so what would also be found in a longer wish comes later.
_WISHES: tuple[tuple[str, Directives], ...] = (
    (r"\blimits?\b|限制|限额", Directives(failure="model_cap", clears_in=10)),
    (r"\bdraw|\bpaint|\bpicture|\bimage|\bphoto|画|图片", Directives(script="painted")),
    (r"\btable\b|\bcompare\b|表格|比较", Directives(say=wording.TABLE_ANSWER)),
    (r"\bcsv\b|\bfile\b|文件", Directives(script="sandbox")),
    (r"\bcompute|\bcalculate|\bwork out\b|\brun\b|\btools?\b|计算|运行|工具", Directives(script="worked_out")),
    (r"\bcode\b|\bfunction\b|\bprogram\b|\bpython\b|\bprimes?\b|代码|函数|程序", Directives(say=wording.PRIMES_ANSWER)),
    (r"\bthink|\breason|思考|推理", Directives(script="reasoning")),
    (r"\blong\b|\bstory\b|\bessay\b|故事|长文", Directives(words=300)),
)

# As a prompt teaches functions (docs/tools.md): one with its schema, the order to call, and what one gave.
_FUNCTION = re.compile(r"^### (\S+)\n(?:.*\n)*?Arguments: (\{.*\})$", re.MULTILINE)
_ORDER = re.compile(r"^You have to call (?:the function `(?P<name>[^`]+)`|at least one function) now", re.MULTILINE)
_RESULT = re.compile(r"<tool_result[^>]*>\n(.*?)\n</tool_result", re.DOTALL)
_SHOWN_RESULT = 500
_DEEPEST = 5


def read_wish(question: str, slug: str, conversation: ConversationRequest) -> Directives:
    """What steers the answer to `question`, the conversation's newest without its directives."""
    messages = conversation.messages or []
    newest = itertools.takewhile(lambda message: message.author.role == "tool", reversed(messages))
    if results := _RESULT.findall("\n".join(message.content.text for message in newest)):
        return Directives(say=wording.RESULT_ANSWER.format(result=results[0][:_SHOWN_RESULT]))
    taught = "\n".join(message.content.text for message in messages if message.author.role == "system")
    if call := _call(question, taught):
        return Directives(say=f"<tool_call>\n{msgspec.json.encode(call).decode()}\n</tool_call>")
    for words, wish in _WISHES:
        if re.search(words, question, re.IGNORECASE):
            return wish
    return Directives(say=wording.demo_answer(question, slug, wording.WELCOME))


def _call(question: str, taught: str) -> dict[str, Any] | None:
    """A call of the function that has to be called, or that the question has a word of the name of."""
    listed = dict(_FUNCTION.findall(taught))
    order = _ORDER.search(taught)
    name = (order["name"] or next(iter(listed), None)) if order else _named(question, list(listed))
    if name not in listed:
        return None
    return {"name": name, "arguments": _fitting(msgspec.json.decode(listed[name]), question)}


def _named(question: str, names: list[str]) -> str | None:
    asked = set(re.findall(r"[a-z]{4,}", question.lower()))
    parts = {name: set(re.findall(r"[a-z]{4,}", re.sub(r"([A-Z])", r" \1", name).lower())) for name in names}
    return next((name for name in names if parts[name] & asked), None)


def _fitting(schema: Any, question: str, depth: int = 0) -> Any:
    """A value that the JSON schema allows, as far as simple schemas go, with words and numbers of the question."""
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return None
    given = [schema[key] for key in ("const", "default") if key in schema]
    given += [schema[key][0] for key in ("enum", "examples") if schema.get(key)]
    if given:
        return given[0]
    if others := next((schema[key] for key in ("anyOf", "oneOf", "allOf") if schema.get(key)), None):
        return _fitting(others[0], question, depth + 1)
    kind = schema.get("type", "object")
    match kind[0] if isinstance(kind, list) and kind else kind:
        case "object":
            fields = schema.get("properties") or {}
            wanted = [name for name in schema.get("required") or list(fields)[:1] if name in fields]
            return {name: _fitting(fields[name], question, depth + 1) for name in wanted}
        case "array":
            return [_fitting(schema.get("items"), question, depth + 1)]
        case simple:
            return _simple(simple, question)


def _simple(kind: object, question: str) -> object:
    if kind in {"integer", "number"}:
        number = re.search(r"\d+", question)
        return int(number[0]) if number else 1
    if kind in {"boolean", "null"}:
        return True if kind == "boolean" else None
    # A name is what begins with a capital and does not begin the question.
    name = re.search(r"(?<=\s)[A-ZÀ-Þ][\w-]+", question)
    return name[0] if name else "demo"
