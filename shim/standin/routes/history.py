"""Saved conversations over HTTP (protocol.md 7.4, 7.5), and files of the sandbox (6.5)."""

from litestar import get, patch, post
from litestar.params import FromPath, FromQuery

from shim.standin import history
from shim.standin.asking import AnyRequest, TheCaller, TheUpstream, origin_of
from shim.standin.failures import refused
from shim.standin.incoming import ConversationPatch, FeedbackRequest, TitleRequest, read_body
from shim.standin.steps import Json


@get("/conversations")
async def conversations(
    upstream: TheUpstream,
    caller: TheCaller,
    offset: FromQuery[int] = 0,
    limit: FromQuery[int] = 28,
    is_archived: FromQuery[bool] = False,
) -> Json:
    """The saved ones, the last changed first."""
    return history.listed(upstream.conversations.saved_by(caller.identity), offset, limit, is_archived=is_archived)


@patch("/conversations")
async def patch_all(request: AnyRequest, upstream: TheUpstream, caller: TheCaller) -> Json:
    """Delete or archive all of them."""
    changes = read_body(await request.body(), ConversationPatch)
    return history.patch(upstream.conversations, upstream.conversations.saved_by(caller.identity), changes)


@get("/conversation/{conversation_id:str}")
async def conversation(upstream: TheUpstream, caller: TheCaller, conversation_id: FromPath[str]) -> Json:
    """The tree of everything said."""
    if failure := caller.account.take_failure("history"):
        raise failure
    if caller.account.reads == "plural":
        raise refused("not_found")
    return history.detail(upstream.conversations.saved(conversation_id, caller.identity))


@get("/conversations/{conversation_id:str}")
async def branch(upstream: TheUpstream, caller: TheCaller, conversation_id: FromPath[str]) -> Json:
    """The messages of the branch that is being looked at."""
    if failure := caller.account.take_failure("history"):
        raise failure
    if caller.account.reads == "singular":
        raise refused("not_found")
    return history.branch(upstream.conversations.saved(conversation_id, caller.identity))


@patch("/conversation/{conversation_id:str}")
async def patch_one(
    request: AnyRequest, upstream: TheUpstream, caller: TheCaller, conversation_id: FromPath[str]
) -> Json:
    """Delete, archive or rename."""
    changes = read_body(await request.body(), ConversationPatch)
    found = upstream.conversations.saved(conversation_id, caller.identity)
    return history.patch(upstream.conversations, [found], changes)


@get("/conversation/{conversation_id:str}/stream_status")
async def stream_status(upstream: TheUpstream, caller: TheCaller, conversation_id: FromPath[str]) -> Json:
    """Whether the answer is still being told."""
    if failure := caller.account.take_failure("status") or caller.account.take_failure("history"):
        raise failure
    return history.stream_status(upstream.conversations.saved(conversation_id, caller.identity))


@get("/conversation/{conversation_id:str}/textdocs")
async def textdocs(upstream: TheUpstream, caller: TheCaller, conversation_id: FromPath[str]) -> list[Json]:
    """The documents made beside the answers."""
    return upstream.conversations.saved(conversation_id, caller.identity).textdocs


@get("/conversation/{conversation_id:str}/interpreter/download")
async def sandbox(
    request: AnyRequest,
    upstream: TheUpstream,
    caller: TheCaller,
    conversation_id: FromPath[str],
) -> Json:
    """Where a file of the sandbox is."""
    found = upstream.conversations.find(conversation_id, caller.identity)
    asked = (request.query_params.get("message_id", ""), request.query_params.get("sandbox_path", ""))
    return history.from_sandbox(upstream.files, caller, found, asked, origin_of(request))


@post("/conversation/gen_title/{conversation_id:str}", status_code=200)
async def gen_title(
    request: AnyRequest, upstream: TheUpstream, caller: TheCaller, conversation_id: FromPath[str]
) -> Json:
    """A title from one message."""
    asked = read_body(await request.body(), TitleRequest)
    return history.titled(upstream.conversations.saved(conversation_id, caller.identity), asked.message_id)


@post("/conversation/message_feedback", status_code=200)
async def feedback(request: AnyRequest, upstream: TheUpstream, caller: TheCaller) -> Json:
    """A thumb for one message."""
    asked = read_body(await request.body(), FeedbackRequest)
    found = upstream.conversations.saved(asked.conversation_id, caller.identity)
    history.said_in(found, asked.message_id)
    found.ratings[asked.message_id] = asked.rating
    return {"message_id": asked.message_id, "conversation_id": found.id, "rating": asked.rating}


LOGGED_IN = (
    conversations, patch_all, conversation, branch, patch_one, stream_status, textdocs, sandbox, gen_title, feedback,
)  # fmt: skip
