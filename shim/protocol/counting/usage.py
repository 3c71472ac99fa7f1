"""Token counts of a prompt and of an answer, by the rules OpenAI has published for chat models.

Rule: the tokenizer is an argument (`count`: text to number of tokens), because loading one is work at import. The
numbers are those of the cookbook's "How to count tokens with tiktoken" for the gpt-4o family, whose examples are
tests here: exact for messages, names and tools. What it says nothing of is estimated in the same manner: a tool call
counts as a message does, and nested properties count as properties do.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from shim.protocol.events import Called
from shim.protocol.prompt import Call, Function, PromptMessage

Count = Callable[[str], int]


class Countable(Protocol):
    """One choice as far as it counts: a `Transcript` is one."""

    @property
    def text(self) -> str:
        """The answer's text, without reasoning and calls."""

    @property
    def reasoning(self) -> str:
        """What the model showed of its thinking; empty where it showed none."""

    @property
    def calls(self) -> Sequence[Called]:
        """The tool calls, in their order."""


class Usage(msgspec.Struct, frozen=True):
    """Tokens, counted here: the web backend sends none. `completion` includes `reasoning`."""

    prompt: int
    completion: int
    reasoning: int = 0

    @property
    def total(self) -> int:
        """Prompt and completion, as `total_tokens` has it."""
        return self.prompt + self.completion


# <|start|>{role}<|message|> ... <|end|>: three, and the role, which is one token whichever of the four it is.
_PER_MESSAGE = 3 + 1
_PER_NAME = 1
_REPLY_PRIMER = 3  # every reply is primed with <|start|>assistant<|message|>
_PER_CALL = 3  # framed as a message is

# The cookbook's numbers, odd as they look: an enum takes three tokens off, and each of its values adds three.
_PER_FUNCTION = 7
_PER_PROPERTIES = 3
_PER_PROPERTY = 3
_PER_ENUM = -3
_PER_ENUM_ITEM = 3
_ALL_FUNCTIONS = 12

# Where a JSON schema has others in it, besides `properties`: by name, in a list, or one.
_NAMED_SCHEMAS = ("$defs", "definitions")
_LISTED_SCHEMAS = ("anyOf", "oneOf", "allOf")
_ONE_SCHEMA = ("items", "additionalProperties")


def prompt_tokens(
    messages: Sequence[PromptMessage], count: Count, *, functions: Sequence[Function] = (), images: Sequence[int] = ()
) -> int:
    """Tokens of the messages as a prompt, with the functions the model may call. `images` are the tokens of each
    picture in the messages; their parts count nothing here."""
    tokens = _REPLY_PRIMER + function_tokens(functions, count) + sum(images)
    for message in messages:
        tokens += _PER_MESSAGE + count(message.text) + call_tokens(message.calls, count)
        if message.name:
            tokens += _PER_NAME + count(message.name)
    return tokens


def function_tokens(functions: Sequence[Function], count: Count) -> int:
    """Tokens the definitions of functions add to a prompt; none where there are none."""
    if not functions:
        return 0
    tokens = _ALL_FUNCTIONS
    for function in functions:
        line = f"{function.name}:{_sentence(function.description)}"
        tokens += _PER_FUNCTION + count(line) + _schema_tokens(function.schema or {}, count)
    return tokens


def usage_of(prompt: int, answers: Sequence[Countable], count: Count) -> Usage:
    """The usage of all choices together: the prompt once; reasoning and tool calls are part of the completion, as in
    the real API."""
    reasoning = 0
    for answer in answers:
        reasoning += count(answer.reasoning)
    return Usage(prompt, reasoning + answer_tokens(answers, count), reasoning)


def answer_tokens(answers: Sequence[Countable], count: Count) -> int:
    """Tokens of what was answered, without the reasoning before it."""
    tokens = 0
    for answer in answers:
        tokens += count(answer.text) + call_tokens(answer.calls, count)
    return tokens


def call_tokens(calls: Sequence[Call | Called], count: Count) -> int:
    """Each call is its function's name and its arguments. Its id is between the client and us; no model reads it."""
    return sum(_PER_CALL + count(call.name) + count(call.arguments) for call in calls) if calls else 0


def _schema_tokens(parameters: Mapping[str, Any], count: Count) -> int:
    """Tokens of a function's parameters: of every property, however deep."""
    tokens = 0
    for schema in _schemas(parameters):
        properties = _mapping(schema.get("properties"))
        tokens += _PER_PROPERTIES if properties else 0
        for name, value in properties.items():
            property = _mapping(value)
            line = f"{name}:{_written(property.get('type', ''))}:{_sentence(property.get('description'))}"
            tokens += _PER_PROPERTY + count(line)
            if isinstance(items := property.get("enum"), list):
                tokens += _PER_ENUM + sum(_PER_ENUM_ITEM + count(_written(item)) for item in items)
    return tokens


def _schemas(root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """`root` and every schema in it, however deep. What is no schema is passed over: clients write anything."""
    waiting = [root]  # a list, not recursion: clients nest as deep as they like
    while waiting:
        schema = waiting.pop()
        yield schema
        inner: list[object] = []
        for key in ("properties", *_NAMED_SCHEMAS):
            inner += _mapping(schema.get(key)).values()
        for key in _LISTED_SCHEMAS:
            listed = schema.get(key)
            inner += listed if isinstance(listed, list) else ()
        inner += [schema.get(key) for key in _ONE_SCHEMA]
        waiting += [found for found in inner if isinstance(found, Mapping)]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sentence(description: object) -> str:
    """A description without its full stop, as the rule counts it."""
    return _written(description or "").removesuffix(".")


def _written(value: object) -> str:
    """Text as it is, any other JSON as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
