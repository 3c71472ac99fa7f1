"""What is recorded: one cassette a line, named after what is in it.

Rule: a prompt steers the embedded upstream by its directives, so a cassette shows by itself how it came to be. Nothing
here is traffic of a person.
"""

QUESTION = "What is on this tape?"
SHORT = "say=A short answer, in **pieces**, with `code`, a [link](https://example.test/page) and a € sign."

# Name of the cassette -> the prompts of its turns, each in a chat of its own.
TURNS: dict[str, tuple[str, ...]] = {
    "text-v1": (f"[[script=text encoding=v1]] {QUESTION}",),
    "text-snapshots": (f"[[script=text encoding=snapshot {SHORT}]]",),
    "text-split": (f"[[script=text encoding=v1 chunks=split]] {QUESTION}",),
    "text-one-chunk": (f"[[script=text encoding=v1 chunks=whole]] {QUESTION}",),
    "long-v1": (f"[[script=long words=400 encoding=v1]] {QUESTION}",),
    "unicode-v1": ("[[script=unicode encoding=v1 chunks=split escapes=raw]]",),
    "unicode-escaped": ("[[script=unicode encoding=v1 escapes=ascii]]",),
    "unicode-snapshots": (
        "[[script=text encoding=snapshot escapes=mixed say=你好, 👩‍👩‍👧‍👦 and שלום: it’s a “tape”.]]",
    ),
    "code-v1": ("[[script=code encoding=v1]]",),
    "code-snapshots": ("[[script=code encoding=snapshot]]",),
    "reasoning-v1": (f"[[script=reasoning encoding=v1 {SHORT}]]",),
    "reasoning-snapshots": (f"[[script=reasoning encoding=snapshot {SHORT}]]",),
    "reasoning-text-v1": (f"[[script=reasoning_text encoding=v1 {SHORT}]]",),
    "preamble-v1": (f"[[script=preamble encoding=v1 {SHORT}]]",),
    "interleaved-v1": (f"[[script=interleaved encoding=v1 {SHORT}]]",),
    "citations-v1": ("[[script=citations encoding=v1]]",),
    "citations-snapshots": ("[[script=citations encoding=snapshot]]",),
    "hidden-v1": (f"[[script=hidden encoding=v1 {SHORT}]]",),
    "max-tokens-v1": (f"[[script=max_tokens encoding=v1 {SHORT}]]",),
    "interrupted-v1": (f"[[script=interrupted encoding=v1 {SHORT}]]",),
    "moderation-v1": ("[[script=moderation_blocked encoding=v1]]", f"[[script=moderation_ok encoding=v1 {SHORT}]]"),
    "handoff-v1": ("[[script=handoff encoding=v1]]",),
    "empty-v1": ("[[script=empty encoding=v1]]", "[[script=empty_text encoding=v1]]"),
    "cut-v1": (f"[[script=cut encoding=v1 {SHORT}]]", "[[script=cut_first encoding=v1]]"),
    "errors-in-stream-v1": tuple(
        f"[[script={name} encoding=v1 {SHORT}]]"
        for name in ("error", "error_object", "error_first", "error_limit", "error_typed", "error_policy")
    ),
    "errors-in-stream-snapshots": tuple(
        f"[[script={name} encoding=snapshot say=Not much.]]" for name in ("error", "error_object", "error_first")
    ),
    "errors-http": tuple(
        f"[[failure={name}]]"
        for name in ("unusual_activity", "cloudflare", "model_cap", "limit_page", "too_long", "internal", "edge_520")
    ),
    "three-turns-v1": tuple(f"[[script=text encoding=v1 say=Answer number {n}.]]" for n in (1, 2, 3)),
}
# Recorded with an account, so that its traces are seen scrubbed; all others are login-free chats.
WITH_ACCOUNT = frozenset({"text-snapshots", "three-turns-v1"})
