"""Scripts that make pictures (protocol.md 6.5), in the shapes recorded in 2026-05.

Rule: every picture is a real PNG that can be fetched by its file id. Only pointers in tool messages are results.
"""

import json

from shim.standin import wording
from shim.standin.png import landscape, picture
from shim.standin.scripts.saying import HIDDEN, Steps, finished, here, plain, say
from shim.standin.scripts.tools import called, system_error
from shim.standin.steps import Change, Json, Start, Turn, Typed, append, replace

DALLE = "dalle.text2im"
IMAGE_GEN = "t2uay3k.sj1i4kz"
FIRST_PART = "/message/content/parts/0"
WIDTH, HEIGHT = 48, 32
PAINTED_WIDTH, PAINTED_HEIGHT = 960, 640
UNDER_WAY = 4  # an async_status seen


def image_dalle(turn: Turn) -> Steps:
    """The older form: a call with the prompt, and a tool message with a file-service pointer."""
    asked = {"prompt": turn.question, "size": "1024x1024", "n": 1}
    yield from _called(turn, DALLE, json.dumps(asked))
    yield turn.start(_result(turn, DALLE, [_part(turn, turn.new_id(), sediment=False)]))
    yield from say(turn, wording.PICTURE_ANSWER)


def image_gen(turn: Turn) -> Steps:
    """The newer form, finished inside the stream: two previews, the final of the same gen_id, hidden words, a text."""
    yield from _skipped(turn)
    gen_id = turn.new_id()
    yield from _previewed(turn, gen_id)
    yield turn.start(_result(turn, IMAGE_GEN, [_part(turn, gen_id)], metadata={"image_gen_title": wording.TITLE}))
    yield turn.start(finished(turn, "tool", plain(wording.PICTURE_INSTRUCTIONS), name=IMAGE_GEN, end_turn=False))
    yield from say(turn, wording.PICTURE_ANSWER)


def painted(turn: Turn) -> Steps:
    """A picture to look at, finished inside the stream."""
    yield from _skipped(turn)
    content = landscape(PAINTED_WIDTH, PAINTED_HEIGHT, turn.rng)
    part = _pointer(turn, content, turn.new_id(), (PAINTED_WIDTH, PAINTED_HEIGHT))
    yield turn.start(_result(turn, IMAGE_GEN, [part], metadata={"image_gen_title": wording.PAINTED_TITLE}))
    yield from say(turn, wording.PAINTED_ANSWER)


def image_many(turn: Turn) -> Steps:
    """Two pictures that grow side by side, each with its own gen_id."""
    yield from _skipped(turn)
    gen_ids = [turn.new_id() for _ in range(2)]
    previews = [turn.start(_preview(turn, gen_id)) for gen_id in gen_ids]
    yield from previews
    for gen_id, preview in zip(reversed(gen_ids), reversed(previews), strict=True):
        yield _replaced(turn, preview, gen_id)
        yield Change((replace("/message/status", "finished_successfully"),), preview.channel)
    yield from say(turn, wording.PICTURE_ANSWER)


def image_async(turn: Turn) -> Steps:
    """The stream ends with a card; the picture appears in GET conversation/{id} after `polls` looks."""
    yield from _card(turn)
    metadata = {"async_task_type": "image_gen", "image_gen_title": wording.TITLE}
    turn.later = [turn.start(_result(turn, IMAGE_GEN, [_part(turn, turn.new_id())], metadata=metadata))]


def image_never(turn: Turn) -> Steps:
    """The same card, and no picture ever comes."""
    turn.polls = -1
    yield from _card(turn)
    turn.later = [turn.start(finished(turn, "tool", plain(""), name=IMAGE_GEN, metadata=HIDDEN))]


def image_failed(turn: Turn) -> Steps:
    """The tool fails, and the assistant says so."""
    yield from _skipped(turn)
    yield turn.start(system_error(turn, IMAGE_GEN, "ImageGenError", wording.PICTURE_ERROR))
    yield from say(turn, wording.PICTURE_FAILED)


def image_refused(turn: Turn) -> Steps:
    """No tool at all, only a text (server_ste_metadata says tool_invoked false)."""
    turn.use_case = "image gen"
    yield from say(turn, wording.PICTURE_REFUSED)


def _called(turn: Turn, tool: str, source: str) -> Steps:
    turn.use_case = "image gen"
    yield from called(turn, tool, source, language="json")


def _skipped(turn: Turn) -> Steps:
    """The code message that stands for the call of the newer tool."""
    yield from _called(turn, IMAGE_GEN, '{"skipped_mainline":true}')


def _card(turn: Turn) -> Steps:
    yield from _skipped(turn)
    task_id = f"imagegen_{turn.new_id()}"
    card = {"ui_card": {"type": "image_gen", "task_id": task_id}}
    metadata = {"image_gen_task_id": task_id, "image_gen_async": True, **card}
    yield turn.start(finished(turn, "tool", plain(wording.CARD), name=IMAGE_GEN, metadata=metadata))
    yield Typed({"type": "conversation_async_status", "async_status": UNDER_WAY, **here(turn)})


def _previewed(turn: Turn, gen_id: str) -> Steps:
    """A message that stays in progress and shows two previews in turn."""
    preview = turn.start(_preview(turn, gen_id))
    yield preview
    yield _replaced(turn, preview, gen_id)
    yield Change((append("/message/metadata", {"image_gen_title": wording.TITLE}),), preview.channel)


def _preview(turn: Turn, gen_id: str) -> Json:
    content = {"content_type": "multimodal_text", "parts": [_part(turn, gen_id)]}
    return turn.message("tool", content, name=IMAGE_GEN, weight=0.0)


def _replaced(turn: Turn, preview: Start, gen_id: str) -> Change:
    """Another picture in the place of the preview."""
    part = _part(turn, gen_id)
    ops = (replace(f"{FIRST_PART}/{key}", part[key]) for key in ("asset_pointer", "size_bytes"))
    return Change(tuple(ops), preview.channel)


def _result(turn: Turn, tool: str, parts: list[Json], **fields: object) -> Json:
    content = {"content_type": "multimodal_text", "parts": parts}
    return finished(turn, "tool", content, name=tool, weight=0.0, **fields)


def _part(turn: Turn, gen_id: str, *, sediment: bool = True) -> Json:
    """An image_asset_pointer to a new picture."""
    return _pointer(turn, picture(WIDTH, HEIGHT, turn.rng), gen_id, (WIDTH, HEIGHT), sediment=sediment)


def _pointer(turn: Turn, content: bytes, gen_id: str, size: tuple[int, int], *, sediment: bool = True) -> Json:
    width, height = size
    file_id = turn.make_file(f"{gen_id}.png", "image/png", content, sediment=sediment)
    known = {"gen_id": gen_id, "seed": None, "parent_gen_id": None}
    shape = {"width": width, "height": height, "orientation": "landscape"}
    return {
        "content_type": "image_asset_pointer",
        "asset_pointer": f"{'sediment' if sediment else 'file-service'}://{file_id}",
        "size_bytes": len(content),
        "width": width,
        "height": height,
        "fovea": None,
        "metadata": {"dalle": known | {"prompt": turn.question}, "generation": known | shape if sediment else None},
    }
