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
    (r"^Name this chat: |^给这个对话起|^سمِّ هذه المحادثة", Directives(say=wording.TITLE)),
    (r"\blimits?\b|限制|限额|الحد", Directives(failure="model_cap", clears_in=10)),
    (r"\bdraw|\bpaint|\bpicture|\bimage|\bphoto|画|图片|ارسم|صورة", Directives(script="painted")),
    (r"\btable\b|\bcompare\b|表格|比较|جدول|قارن", Directives(say=wording.TABLE_ANSWER)),
    (r"\bcsv\b|\bfile\b|文件|ملف", Directives(script="sandbox")),
    (r"\bcompute|\bcalculate|\bwork out\b|\brun\b|\btools?\b|计算|运行|工具|احسب", Directives(script="worked_out")),
    (
        r"\bcode\b|\bfunction\b|\bprogram\b|\bpython\b|\bprimes?\b|代码|函数|程序|برنامج|شيفرة",
        Directives(say=wording.PRIMES_ANSWER),
    ),
    (r"\bthink|\breason|思考|推理|فكر", Directives(script="reasoning")),
    (r"\blong\b|\bstory\b|\bessay\b|故事|长文|قصة", Directives(words=300)),
)

# As a prompt teaches functions (docs/tools.md): one with its schema, the order to call, and what one gave.
_FUNCTION = re.compile(r"^### (\S+)\n(?:(?!### ).*\n)*?Arguments: (\{.*\})$", re.MULTILINE)
_LIST = "## The functions"
_ORDER = re.compile(r"^You have to call (?:the function `(?P<name>[^`]+)`|at least one function) now", re.MULTILINE)
_RESULT = re.compile(r"<tool_result[^>]*>\n(.*?)\n</tool_result", re.DOTALL)
# As a prompt asks for JSON, with or without a schema.
_FORM = re.compile(
    r"^Answer with one valid JSON (?:object|value that fits).*(?:\n(?!\{).+)*(?:\n(?P<schema>\{.*\}))?$", re.M
)
_ANY_OBJECT = {"type": "object", "properties": {"answer": {"const": wording.PREPARED}}}
_SHOWN_RESULT = 500
_DEEPEST = 5
_WORD = re.compile(r"[a-z]{4,}")


def read_wish(question: str, slug: str, conversation: ConversationRequest) -> Directives:
    """What steers the answer to `question`, the conversation's newest without its directives."""
    if "picture_v2" in conversation.hints:
        return Directives(script="painted")
    if told := _owed(question, conversation):
        return Directives(say=told)
    heard = (wish for words, wish in _WISHES if re.search(words, question, re.IGNORECASE))
    return next(heard, None) or Directives(say=wording.demo_answer(question, slug, wording.WELCOME))


def _owed(question: str, conversation: ConversationRequest) -> str:
    """What has to be said whatever the words are: of a function's result, a call, JSON, files. Else nothing."""
    messages = conversation.messages or []
    newest = itertools.takewhile(lambda message: message.author.role == "tool", reversed(messages))
    if results := _RESULT.findall("\n".join(message.content.text for message in newest)):
        return wording.RESULT_ANSWER.format(result=results[0][:_SHOWN_RESULT])
    taught = "\n".join(message.content.text for message in messages if message.author.role == "system")
    if call := _call(question, taught):
        return f"<tool_call>\n{msgspec.json.encode(call).decode()}\n</tool_call>"
    if form := _FORM.search(taught):
        schema = _read(form["schema"]) if form["schema"] else _ANY_OBJECT
        return msgspec.json.encode(_fitting(schema, question, schema)).decode()
    sent = _attached(conversation)
    return wording.RECEIVED_ANSWER.format(files="\n".join(sent)) if sent else ""


def _attached(conversation: ConversationRequest) -> list[str]:
    """A line for each file of the newest message."""
    newest = conversation.last_user_message
    files = (newest.metadata.get("attachments") or []) if newest else []
    return [
        f"* **{one['name']}**, {one.get('mime_type') or 'of no known type'}, {one['size']:,} bytes" for one in files
    ]


def _call(question: str, taught: str) -> dict[str, Any] | None:
    """A call of the function that has to be called, or that the question has a word of the name of."""
    listed = dict(_FUNCTION.findall(taught.rpartition(_LIST)[2]))
    order = _ORDER.search(taught)
    name = (order["name"] or next(iter(listed), None)) if order else _named(question, list(listed))
    if name not in listed:
        return None
    schema = _read(listed[name])
    return {"name": name, "arguments": _fitting(schema, question, schema)}


def _named(question: str, names: list[str]) -> str | None:
    """The function that is meant: by a word of a name that has several (`get_weather`), or where it is to be called
    (`call Bash`). A name of one word is often a word of the question, too."""
    asked = set(_WORD.findall(question.lower()))
    for name in names:
        several = re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower().split("_")
        if len(several) > 1 and asked.intersection(word for word in several if _WORD.fullmatch(word)):
            return name
        if re.search(rf"\b(?:call|use)\s+(?:the\s+)?`?{re.escape(name)}\b", question, re.IGNORECASE):
            return name
    return None


def _fitting(schema: Any, question: str, whole: Any, depth: int = 0) -> Any:
    """A value that the JSON schema allows, as far as simple schemas go, with words and numbers of the question. What
    it refers to is in `whole`."""
    schema = _meant(schema, whole)
    given = [schema[key] for key in ("const", "default") if key in schema]
    given += [schema[key][0] for key in ("enum", "examples") if schema.get(key)]
    if given or depth > _DEEPEST:
        return given[0] if given else None
    kind = schema.get("type", "object")
    match kind[0] if isinstance(kind, list) and kind else kind:
        case "object":
            fields = schema.get("properties") or {}
            wanted = [name for name in schema.get("required") or list(fields)[:1] if name in fields]
            return {name: _fitting(fields[name], question, whole, depth + 1) for name in wanted}
        case "array":
            return [_fitting(schema.get("items"), question, whole, depth + 1)]
        case simple:
            return _simple(simple, question)


def _meant(schema: Any, whole: Any) -> dict[str, Any]:
    """The schema behind references and choices, of which the first is taken."""
    for _ in range(_DEEPEST):
        if not isinstance(schema, dict):
            break
        if isinstance(place := schema.get("$ref"), str):
            schema = whole
            for key in place.split("/")[1:]:
                schema = schema.get(key) if isinstance(schema, dict) else None
        elif others := next((schema[key] for key in ("anyOf", "oneOf", "allOf") if schema.get(key)), None):
            schema = others[0]
        else:
            return schema
    return {}


def _read(schema: str) -> Any:
    """A schema as it was taught; what only looks like one allows anything."""
    try:
        return msgspec.json.decode(schema)
    except msgspec.DecodeError:
        return {}


def _simple(kind: object, question: str) -> object:
    if kind in {"integer", "number"}:
        number = re.search(r"\d+", question)
        return int(number[0]) if number else 1
    if kind in {"boolean", "null"}:
        return True if kind == "boolean" else None
    # A name is what begins with a capital and does not begin the question.
    name = re.search(r"(?<=\s)[A-ZÀ-Þ][\w-]+", question)
    return name[0] if name else "demo"
