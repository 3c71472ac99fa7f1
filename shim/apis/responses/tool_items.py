"""What tools other than the client's functions left in a history: each is shown to the model as a call and its result.

    an item ──> its struct, by `type` ──> a call of the assistant's, a result, or both

Rule: what can be said in words or pictures is shown, whoever ran the tool. What a tool wrote that has a form of its own
is shown as the JSON it came as.
"""

from typing import Any

import msgspec

from shim.apis.decoding import written
from shim.apis.responses.tools import name_in
from shim.protocol.prompt import Call, Image, PromptMessage, Result, Text
from shim.protocol.turn.inline_files import form_of_data, form_of_url

NOT_KEPT = "(What came of it is not in this history.)"
"""What is shown as the result of a call whose item tells none"""
Messages = tuple[PromptMessage, ...]


class LocalShellCall(msgspec.Struct, frozen=True, tag="local_shell_call"):
    """A command for the client's shell, of the older tool."""

    action: dict[str, Any]
    id: str | None = None
    call_id: str | None = None

    def messages(self, _field: str) -> Messages:
        """See `ToolItem`."""
        return (_called(self.call_id or self.id, "local_shell", self.action),)


class LocalShellOutput(msgspec.Struct, frozen=True, tag="local_shell_call_output"):
    """What it wrote."""

    output: Any
    id: str | None = None
    call_id: str | None = None

    def messages(self, _field: str) -> Messages:
        """See `ToolItem`."""
        return (_returned(self.call_id or self.id, _as_text(self.output)),)


class ShellCall(msgspec.Struct, frozen=True, tag="shell_call"):
    """Commands for a shell, the client's or OpenAI's."""

    call_id: str
    action: dict[str, Any]

    def messages(self, _field: str) -> Messages:
        """See `ToolItem`."""
        return (_called(self.call_id, "shell", self.action),)


class ShellOutput(msgspec.Struct, frozen=True, tag="shell_call_output"):
    """What they wrote, and how they ended."""

    call_id: str
    output: list[Any] | str

    def messages(self, _field: str) -> Messages:
        """See `ToolItem`."""
        return (_returned(self.call_id, _as_text(self.output)),)


class PatchCall(msgspec.Struct, frozen=True, tag="apply_patch_call"):
    """A change of a file."""

    call_id: str
    operation: dict[str, Any]

    def messages(self, _field: str) -> Messages:
        """See `ToolItem`."""
        return (_called(self.call_id, "apply_patch", self.operation),)


class PatchOutput(msgspec.Struct, frozen=True, tag="apply_patch_call_output"):
    """What became of it."""

    call_id: str
    status: str = "completed"
    output: str | None = None

    def messages(self, _field: str) -> Messages:
        """See `ToolItem`."""
        return (_returned(self.call_id, "\n".join(filter(None, (self.status, self.output)))),)


class ComputerCall(msgspec.Struct, frozen=True, tag="computer_call"):
    """What was done with a screen: one thing, or several."""

    call_id: str
    action: dict[str, Any] | None = None
    actions: list[Any] | None = None

    def messages(self, _field: str) -> Messages:
        """See `ToolItem`."""
        done = {"action": self.action} if self.actions is None else {"actions": self.actions}
        return (_called(self.call_id, "computer", done),)


class Screenshot(msgspec.Struct, frozen=True):
    """What the screen shows then."""

    image_url: str | None = None
    file_id: str | None = None


class ComputerOutput(msgspec.Struct, frozen=True, tag="computer_call_output"):
    """The screen after it."""

    call_id: str
    output: Screenshot

    def messages(self, field: str) -> Messages:
        """See `ToolItem`."""
        url, file_id = self.output.image_url, self.output.file_id
        if url is not None:
            seen: Image | Text = Image(url.strip(), form_of_url(url), f"{field}.output.image_url")
        elif file_id is not None:
            seen = Image(file_id, "file_id", f"{field}.output.file_id")
        else:
            seen = Text(NOT_KEPT)
        return (PromptMessage("tool", (Result(self.call_id, None, (seen,)),)),)


class McpCall(msgspec.Struct, frozen=True, tag="mcp_call"):
    """A call of an MCP server's tool, with what came of it."""

    id: str
    server_label: str
    name: str
    arguments: str
    output: str | None = None
    error: Any = None

    def messages(self, _field: str) -> Messages:
        """See `ToolItem`."""
        came = self.output if self.error is None else _as_text(self.error)
        return (
            _called(self.id, name_in(self.server_label, self.name), self.arguments),
            _returned(self.id, NOT_KEPT if came is None else came),
        )


class ApprovalRequest(msgspec.Struct, frozen=True, tag="mcp_approval_request"):
    """Such a call that waits for somebody to allow it."""

    id: str
    server_label: str
    name: str
    arguments: str

    def messages(self, _field: str) -> Messages:
        """See `ToolItem`."""
        return (_called(self.id, name_in(self.server_label, self.name), self.arguments),)


class ApprovalResponse(msgspec.Struct, frozen=True, tag="mcp_approval_response"):
    """Whether it was allowed."""

    approval_request_id: str
    approve: bool
    reason: str | None = None

    def messages(self, _field: str) -> Messages:
        """See `ToolItem`."""
        said = "The user allows this call." if self.approve else "The user does not allow this call."
        return (_returned(self.approval_request_id, "\n".join(filter(None, (said, self.reason)))),)


class CodeCall(msgspec.Struct, frozen=True, tag="code_interpreter_call"):
    """Code that OpenAI ran, with what it wrote where that was asked for. Pictures of it are at addresses that OpenAI
    shows to nobody else."""

    id: str
    code: str | None = None
    outputs: list[dict[str, Any]] | None = None

    def messages(self, _field: str) -> Messages:
        """See `ToolItem`."""
        wrote = [str(one.get("logs", f"({one.get('type')})")) for one in self.outputs or ()]
        return (
            _called(self.id, "code_interpreter", {"code": self.code or ""}),
            _returned(self.id, NOT_KEPT if self.outputs is None else "\n".join(wrote)),
        )


class FileSearch(msgspec.Struct, frozen=True, tag="file_search_call"):
    """A search in files that OpenAI has, with what was found where that was asked for: else it is in the words of the
    answer alone."""

    id: str
    queries: list[str] = []
    results: list[Any] | None = None

    def messages(self, _field: str) -> Messages:
        """See `ToolItem`."""
        if self.results is None:
            return ()
        called = _called(self.id, "file_search", {"queries": self.queries})
        return called, _returned(self.id, _as_text(self.results))


class MadePicture(msgspec.Struct, frozen=True, tag="image_generation_call"):
    """A picture of an earlier answer; without a result, one that came to nothing."""

    id: str
    result: str | None = None
    revised_prompt: str | None = None

    def messages(self, field: str) -> Messages:
        """See `ToolItem`."""
        if not self.result:
            return ()
        seen = Image(self.result.strip(), form_of_data(self.result), f"{field}.result")
        called = _called(self.id, "image_generation", {"prompt": self.revised_prompt} if self.revised_prompt else {})
        return called, PromptMessage("tool", (Result(self.id, None, (seen,)),))


class ProgramCall(msgspec.Struct, frozen=True, tag="program"):
    """A program that calls tools."""

    call_id: str
    code: str

    def messages(self, _field: str) -> Messages:
        """See `ToolItem`."""
        return (_called(self.call_id, "program", {"code": self.code}),)


class ProgramOutput(msgspec.Struct, frozen=True, tag="program_output"):
    """What it gave."""

    call_id: str
    result: str

    def messages(self, _field: str) -> Messages:
        """See `ToolItem`."""
        return (_returned(self.call_id, self.result),)


ToolItem = (
    LocalShellCall
    | LocalShellOutput
    | ShellCall
    | ShellOutput
    | PatchCall
    | PatchOutput
    | ComputerCall
    | ComputerOutput
    | McpCall
    | ApprovalRequest
    | ApprovalResponse
    | CodeCall
    | FileSearch
    | MadePicture
    | ProgramCall
    | ProgramOutput
)
"""Any of them. `messages(field)` is what one comes to, where it stands in the client's `field`: nothing where there is
nothing to be shown."""


def _called(id: str | None, name: str, arguments: str | dict[str, Any]) -> PromptMessage:
    return PromptMessage("assistant", (Call(id or "", name, _as_text(arguments)),))


def _returned(id: str | None, text: str) -> PromptMessage:
    return PromptMessage("tool", (Result(id, None, (Text(text),)),))


def _as_text(output: object) -> str:
    return output if isinstance(output, str) else written(output)
