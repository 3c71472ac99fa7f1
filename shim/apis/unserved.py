"""What else OpenAI's and Anthropic's APIs have, and the web backend can't do: each is refused by what it is.

Rule: this is asked only for what no route serves, so a row never stands in the way of an API that is added. It is a
404, which no client tries again and most take for "not available here".
"""

import re

from shim.errors import GatewayError, RequestError

_CHAT = "POST /v1/chat/completions"
_ATTACH = f"attach the files to the request itself ({_CHAT}, /v1/messages)"
_LOCAL = "use a local model or another service for them"

# (path below /v1, what it is, what to do instead). The first that matches counts.
_ROWS: tuple[tuple[str, str, str], ...] = (
    ("embeddings", "Embeddings", _LOCAL),
    ("moderations", "Moderations", "an answer that upstream's own moderation ends says so (content_filter)"),
    ("fine[_-]tun(?:ing|es)|checkpoints", "Fine-tuning", f"put examples and instructions into the messages of {_CHAT}"),
    ("batches", "Batches", f"send the requests one by one to {_CHAT}"),
    ("messages/batches", "Batches", "send the messages one by one to POST /v1/messages"),
    ("vector_stores", "Vector stores", _ATTACH),
    ("uploads", "Uploads in parts", "send the whole file to POST /v1/files"),
    ("assistants|threads", "Assistants and threads", f"use {_CHAT} with the history in 'messages'"),
    ("realtime|live", "Realtime sessions", f"use {_CHAT} with 'stream': true"),
    ("evals|graders", "Evals", f"run them against {_CHAT}"),
    ("containers", "Containers", "ChatGPT runs code by itself, and its answers link to the files it makes"),
    ("videos", "Videos", "there is nothing that stands in for them"),
    ("images", "This way to pictures", f"ask for one in {_CHAT}"),
    ("audio", "This way to speech and sound", "there is nothing that stands in for it"),
    ("chatkit|agents|sessions|environments|skills", "Hosted agents", f"run the agent yourself, over {_CHAT}"),
    ("engines", "Engines", "name the model in the request; GET /v1/models lists them"),
    ("organizations?|dashboard|usage", "Organizations, keys and their usage", "GET /v1/models tells what can be used"),
    ("complete", "Anthropic's text completions", "use POST /v1/messages"),
    ("chat/completions", "Stored completions", f"keep the answer of {_CHAT}: it is not stored here"),
    ("models", "Changing a model", "GET /v1/models lists them"),
)
_KNOWN = re.compile(
    "(?:/v1){1,3}/(?:" + "|".join(f"(?P<row{at}>{row[0]})" for at, row in enumerate(_ROWS)) + r")(?:/.*)?"
)
_BARE = re.compile(
    "/(?:embeddings|moderations|batches|vector_stores|assistants|threads|uploads|realtime|fine_tuning)(?:/.*)?"
)


# What is said of these is said of the path; the others' sentences hold of a method, too.
_OF_PATHS = frozenset({"images", "audio"})


def unserved(root_path: str, path: str, method: str, *, is_path_served: bool = False) -> GatewayError | None:
    """The refusal of a path (below API_PREFIX, with it) that no route serves by this method; None where it is
    nobody's, or where all there is to say is that its method is another one (`is_path_served`)."""
    path = path.removeprefix(root_path)
    match = _KNOWN.fullmatch(f"/v1{path}" if _BARE.fullmatch(path) else path)
    if match is None:
        return None
    at = next(int(name.removeprefix("row")) for name, found in match.groupdict().items() if found is not None)
    row, what, instead = _ROWS[at]
    if is_path_served and row in _OF_PATHS:
        return None
    # A path may be as long as the head of a request may be.
    return RequestError(
        f"{what}: the ChatGPT web backend can't do this ({method} {path[:100]}); {instead}.",
        status=404,
        code="unsupported_endpoint",
    )
