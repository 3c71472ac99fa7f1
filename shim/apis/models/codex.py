"""The model list as Codex asks for it (`?client_version=`): what its picker shows, and how it works with each model.

Codex asks only where it has been told that the provider has such a list; all fields here are those it can't go on
without. It takes its instructions from the list, too, so that these stand here.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec

from shim.apis.models.wire import Model

_INSTRUCTIONS = """\
You are a coding agent in the user's terminal. You work in their repository with the tools you are given, until what
they asked for is done.

- Look before you change: read the files that matter, and the project's own instructions (AGENTS.md), if any.
- Change what the task needs and nothing else, in the style of the code around it. Leave others' changes alone.
- Run commands with the shell tool. Prefer `rg` for searching. Edit files with the patch tool where there is one.
- Never run what destroys work (`git reset --hard`, `rm -rf`) unless you were asked to.
- Check what you did: run the tests or the program where that is possible, and say so where it is not.
- End with a short summary: what changed, in which files, and what the user should know.
"""
# What the effort means, by upstream's word for it: Codex's word, and the line its picker shows.
_LEVELS = {
    "min": ("low", "Answers fast, with little thinking"),
    "standard": ("medium", "As much thinking as most tasks need"),
    "extended": ("high", "More thinking, for hard problems"),
    "max": ("xhigh", "As much thinking as there is"),
}


class CodexEffort(msgspec.Struct, frozen=True):
    """An effort that can be chosen."""

    effort: str
    description: str


class CodexTruncation(msgspec.Struct, frozen=True):
    """How much of a tool's output Codex keeps."""

    mode: Literal["bytes", "tokens"] = "bytes"
    limit: int = 10_000


class CodexModel(msgspec.Struct, frozen=True):
    """One model. A low `priority` is shown first."""

    slug: str
    display_name: str
    description: str | None
    supported_reasoning_levels: list[CodexEffort]
    default_reasoning_level: str | None
    supports_reasoning_summaries: bool
    context_window: int | None
    priority: int
    base_instructions: str = _INSTRUCTIONS
    shell_type: Literal["shell_command"] = "shell_command"
    visibility: Literal["list"] = "list"
    supported_in_api: bool = True
    upgrade: None = None
    support_verbosity: bool = False
    default_verbosity: None = None
    apply_patch_tool_type: None = None
    truncation_policy: CodexTruncation = CodexTruncation()
    supports_parallel_tool_calls: bool = True
    experimental_supported_tools: tuple[str, ...] = ()
    input_modalities: tuple[str, ...] = ("text", "image")


class CodexModelList(msgspec.Struct, frozen=True):
    """All of them."""

    models: list[CodexModel]


def listed(models: Iterable[Model]) -> CodexModelList:
    """The models in this form, in their order."""
    told: list[CodexModel] = []
    for place, model in enumerate(models):
        efforts = [CodexEffort(*_LEVELS[word]) for word in model.efforts or () if word in _LEVELS]
        words = [one.effort for one in efforts]
        one = CodexModel(
            model.id,
            model.display_name or model.id,
            f"Stands for {model.preset_of}" if model.preset_of else None,
            efforts,
            # What Codex sends where its user has chosen nothing.
            "medium" if "medium" in words else next(iter(words), None),
            bool(efforts),
            model.context_window or None,
            place,
        )
        told.append(one)
    return CodexModelList(told)
