"""What is asked of the model, whoever asked and in whichever API: what every API's `read` makes of a request.

Rule: nothing here names a field of an API. Where an error about a part has to name the client's own field, the part
carries that name along as `param`, composed by the API that read it.
"""

from itertools import chain
from typing import Any, Literal

import msgspec

Role = Literal["system", "user", "assistant", "tool"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
SourceForm = Literal["url", "data_url", "base64", "file_id"]
"""How a file came: a URL to fetch, a data URL, bare base64, or the id of one that was uploaded before"""
Hint = Literal["search", "picture", "research"]
Builtin = Literal["web_search", "image_generation"]


class Text(msgspec.Struct, frozen=True, tag=True):
    """Words."""

    text: str


class Image(msgspec.Struct, frozen=True, tag=True):
    """A picture; by its bytes it has to be one. `detail` decides the tokens it counts and nothing else."""

    source: str
    form: SourceForm
    param: str
    detail: str = "auto"
    name: str | None = None


class File(msgspec.Struct, frozen=True, tag=True):
    """Any other file, under the name the client gave it."""

    source: str
    form: SourceForm
    param: str
    name: str | None = None


class Call(msgspec.Struct, frozen=True, tag=True):
    """A function the assistant called. `arguments` is JSON as text, as it was written."""

    id: str
    name: str
    arguments: str


class Result(msgspec.Struct, frozen=True, tag=True):
    """What a function returned. Clients of the older convention know no call id, only the function's name."""

    call_id: str | None
    name: str | None
    content: tuple[Text | Image | File, ...]


Attached = Image | File
Part = Text | Image | File | Call | Result


class PromptMessage(msgspec.Struct, frozen=True):
    """One message of the history. Results stand in messages of the role `tool`, calls in the assistant's."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None

    @property
    def text(self) -> str:
        """Its words, of results too, one part a line. Pictures and files have none."""
        texts: list[str] = []
        for part in self.parts:
            if isinstance(part, Text):
                texts.append(part.text)
            elif isinstance(part, Result):
                texts += [one.text for one in part.content if isinstance(one, Text)]
        return "\n".join(texts)

    @property
    def calls(self) -> list[Call]:
        """The functions it called."""
        return [part for part in self.parts if isinstance(part, Call)]

    @property
    def attached(self) -> list[Attached]:
        """Its pictures and files, of results too."""
        found: list[Attached] = []
        for part in self.parts:
            if isinstance(part, Text):  # first, for nearly all of a history is words
                continue
            if isinstance(part, Image | File):
                found.append(part)
            elif isinstance(part, Result):
                found += [one for one in part.content if isinstance(one, Image | File)]
        return found


class Function(msgspec.Struct, frozen=True):
    """A function the model may call. `schema` is that of its arguments (None: it takes nothing); `param` names the
    client's field that holds it."""

    name: str
    param: str
    description: str | None = None
    schema: dict[str, Any] | None = None


class OnlyFunction(msgspec.Struct, frozen=True):
    """The one function that has to be called."""

    name: str


FunctionChoice = Literal["none", "auto", "required"] | OnlyFunction


class JsonAnswer(msgspec.Struct, frozen=True):
    """The answer has to be JSON: any object (`schema` is None), or a value that fits `schema`."""

    schema: dict[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    param: str | None = None


class Limits(msgspec.Struct, frozen=True):
    """What ends an answer early, and how many of them are wanted."""

    stop: tuple[str, ...] = ()
    max_tokens: int | None = None
    choices: int = 1


class Continues(msgspec.Struct, frozen=True):
    """A kept conversation to go on with, below one of its messages. `conversation_id` is the name we gave it
    (`shim.protocol.owners`); `param` names the client's field that holds it."""

    conversation_id: str
    message_id: str
    param: str | None = None


class GoesOn(msgspec.Struct, frozen=True):
    """A kept conversation in which all was said already but these messages. Going on with it saves work and is never
    owed: where that can't be done, the prompt's own messages say everything."""

    conversation_id: str
    message_id: str
    messages: tuple[PromptMessage, ...]


class Wishes(msgspec.Struct, frozen=True):
    """What only the web backend can do. `temporary` and `memory` are None where the operator's settings decide, and the
    account's; `project` is the id of one of its projects, `tier` upstream's name of a service tier. `account` says that
    nothing can come of it without one, and why: "Pictures need an account". `passing` asks for a kept chat for this
    turn alone, which is deleted after it."""

    temporary: bool | None = None
    memory: bool | None = None
    project: str | None = None
    hints: frozenset[Hint] = frozenset()
    tier: str | None = None
    account: str | None = None
    passing: bool = False


class Prompt(msgspec.Struct, frozen=True):
    """One request. `pictures` says whether pictures of the answer are wanted as links or as data, `previews` how many
    looks at each while it is made (as data). `mark_key` is the random part of the marks around calls and results
    (docs/tools.md); the gateway gives each request one. `asked_model` is what the client called the model where that
    was an alias, `session` what it calls the conversation that this is a turn of. `others` are the messages of further
    prompts of the same call, each asked by itself: every one has the same share of `limits.choices`, in their order."""

    model: str
    messages: tuple[PromptMessage, ...]
    functions: tuple[Function, ...] = ()
    choice: FunctionChoice = "auto"
    parallel: bool = True
    answer_form: JsonAnswer | None = None
    limits: Limits = Limits()
    effort: Effort | None = None
    continues: Continues | None = None
    goes_on: GoesOn | None = None
    builtins: frozenset[Builtin] = frozenset()
    wishes: Wishes = Wishes()
    pictures: Literal["links", "data"] = "links"
    previews: int = 0
    stream: bool = False
    mark_key: str = ""
    asked_model: str | None = None
    session: str | None = None
    others: tuple[tuple[PromptMessage, ...], ...] = ()

    @property
    def all_messages(self) -> list[PromptMessage]:
        """Those of the other prompts too."""
        return list(chain(self.messages, *self.others))

    def of_choice(self, place: int) -> "Prompt":
        """What one of the choices answers: the prompt itself, or the one of `others` whose turn it is."""
        which = place * (1 + len(self.others)) // self.limits.choices
        messages = (self.messages, *self.others)[which]
        return msgspec.structs.replace(self, messages=messages, others=())

    @property
    def attached(self) -> list[Attached]:
        """Every picture and file, in order."""
        return [part for message in self.messages for part in message.attached]

    @property
    def has_marks(self) -> bool:
        """Whether calls are taught, or calls and results are in the history."""
        return bool(self.callable_functions) or any(one.role == "tool" or one.calls for one in self.messages)

    @property
    def callable_functions(self) -> tuple[Function, ...]:
        """The functions the model is told of: none where none may be called."""
        return () if self.choice == "none" else self.functions
