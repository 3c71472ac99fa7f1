"""Scripts in which the assistant calls a tool before it answers (protocol.md 5.1).

Rule: a call is an assistant message whose recipient is the tool; what comes back is a message of role tool.
"""

import json

from shim.standin import wording
from shim.standin.scripts.saying import Steps, finished, plain, say
from shim.standin.steps import CODE, Change, Json, Turn, append, finish
from shim.standin.wording import pieces

CANVAS_TOOL = "canmore.create_textdoc"
ACTION_TOOL = "weather_example_test__jit_plugin.getForecast"
UNKNOWN_TOOL = "brand_new.tool"


def code(turn: Turn) -> Steps:
    """A call of python, its output, then the answer with a fenced block."""
    yield from called(turn, "python", wording.CODE_SOURCE)
    yield turn.start(_python_output(turn, wording.CODE_OUTPUT))
    yield from say(turn, wording.CODE_ANSWER.format(source=wording.CODE_SOURCE, output=wording.CODE_OUTPUT.strip()))


def worked_out(turn: Turn) -> Steps:
    """A call of python that computes something, and what comes of it."""
    yield from called(turn, "python", wording.WORKED_OUT_SOURCE)
    yield turn.start(_python_output(turn, wording.WORKED_OUT_OUTPUT))
    yield from say(turn, wording.WORKED_OUT_ANSWER)


def code_fence(turn: Turn) -> Steps:
    """Source and output that hold the three backticks a fence is made of."""
    yield from called(turn, "python", wording.FENCE_SOURCE)
    yield turn.start(_python_output(turn, wording.FENCE_OUTPUT))
    yield from say(turn, wording.FENCE_ANSWER)


def code_open(turn: Turn) -> Steps:
    """A call without any output; the answer follows at once."""
    yield from called(turn, "python", wording.CODE_SOURCE)
    yield from say(turn, wording.OPEN_ANSWER)


def code_error(turn: Turn) -> Steps:
    """A call that raises, one the tool itself fails on (system_error), then the answer."""
    yield from called(turn, "python", wording.ERROR_SOURCE)
    yield turn.start(_python_output(turn, wording.ERROR_OUTPUT, wording.ERROR_NAME))
    yield from called(turn, "python", wording.CODE_SOURCE)
    yield turn.start(system_error(turn, "python", "GetDownloadLinkError", wording.TOOL_ERROR))
    yield from say(turn, wording.ERROR_ANSWER)


def sandbox(turn: Turn) -> Steps:
    """Code that writes a file, and an answer that links to it in the sandbox (protocol.md 6.5)."""
    turn.sandbox[wording.SANDBOX_PATH] = turn.make_file(wording.TABLE_NAME, "text/csv", wording.TABLE.encode())
    yield from called(turn, "python", wording.SANDBOX_SOURCE)
    yield turn.start(_python_output(turn, wording.SANDBOX_OUTPUT))
    yield from say(turn, wording.SANDBOX_ANSWER)


def canvas(turn: Turn) -> Steps:
    """A text document made beside the answer."""
    document = {"name": wording.CANVAS_NAME, "type": "document", "content": wording.CANVAS_TEXT}
    yield from called(turn, CANVAS_TOOL, json.dumps(document), language="json")
    made = {"textdoc_id": turn.new_id(), "textdoc_type": "document", "version": 1}
    turn.textdocs.append({"id": made["textdoc_id"], "title": wording.CANVAS_NAME, **document, "version": 1})
    answer = {"result": f"Successfully created text document with textdoc_id '{made['textdoc_id']}'", **made}
    yield turn.start(_told_by(turn, CANVAS_TOOL, json.dumps(answer), metadata={"canvas": made}))
    yield from say(turn, wording.CANVAS_ANSWER)


def unknown_tool(turn: Turn) -> Steps:
    """A tool no reader has heard of, asked and answering in JSON."""
    yield from called(turn, UNKNOWN_TOOL, json.dumps({"wanted": "HIDDEN request", "depth": 2}), language="json")
    yield turn.start(_told_by(turn, UNKNOWN_TOOL, json.dumps({"found": ["HIDDEN reply"], "more": None})))
    yield from say(turn, wording.UNKNOWN_TOOL_ANSWER)


def gizmo_tool(turn: Turn) -> Steps:
    """An action of a GPT: the call names the operation, the tool message holds what its server said."""
    yield from called(turn, ACTION_TOOL, json.dumps({"city": "Utrecht"}), language="json")
    yield turn.start(_told_by(turn, ACTION_TOOL, json.dumps({"forecast": "dry", "degrees": 14})))
    yield from say(turn, wording.ACTION_ANSWER)


def called(turn: Turn, tool: str, source: str, language: str = "unknown") -> Steps:
    """A finished call of a tool whose source grows piece by piece."""
    turn.tool = tool
    content = {"content_type": "code", "language": language, "response_format_name": None, "text": ""}
    call = turn.start(turn.answer(content, recipient=tool, channel="commentary", end_turn=False))
    yield call
    for piece in pieces(source, turn.rng):
        yield Change((append(CODE, piece),), call.channel)
    yield Change(finish(end_turn=False), call.channel)


def system_error(turn: Turn, tool: str, name: str, told: str) -> Json:
    """A tool message of type system_error."""
    return finished(turn, "tool", {"content_type": "system_error", "name": name, "text": told}, name=tool)


def _told_by(turn: Turn, tool: str, told: str, **fields: object) -> Json:
    return finished(turn, "tool", plain(told), name=tool, channel="commentary", **fields)


def _python_output(turn: Turn, told: str, exception: str | None = None) -> Json:
    raised = {"name": exception, "traceback": told.splitlines(), "args": [], "notes": []} if exception else None
    printed = {"message_type": "stream", "stream_name": "stdout", "text": told}
    result = {
        "status": "failed_with_in_kernel_exception" if raised else "success",
        "messages": [] if raised else [printed],
        "in_kernel_exception": raised,
        "final_expression_output": None,
    }
    content = {"content_type": "execution_output", "text": told}
    return finished(turn, "tool", content, name="python", channel="commentary", metadata={"aggregate_result": result})
