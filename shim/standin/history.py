"""Saved conversations as the upstream lists, shows and changes them (protocol.md 7.4, 7.5).

Rule: a temporary conversation does not exist here.
"""

from datetime import UTC, datetime

from shim.standin.accounts import Account, Caller
from shim.standin.conversations import Conversation, Conversations
from shim.standin.failures import refused
from shim.standin.files import Files
from shim.standin.incoming import ConversationPatch
from shim.standin.steps import Json

UNDER_WAY = 4  # an async_status seen
MAX_LIMIT = 100
EXPIRED: Json = {"status": "error", "error_code": "ace_pod_expired", "error_message": None}


def listed(found: list[Conversation], offset: int, limit: int, *, is_archived: bool) -> Json:
    """GET conversations."""
    rows = [conversation for conversation in found if conversation.is_archived == is_archived]
    shown = rows[offset : offset + min(limit, MAX_LIMIT)]
    return {
        "items": [_row(conversation) for conversation in shown],
        "total": len(rows),
        "limit": limit,
        "offset": offset,
        "has_missing_conversations": False,
    }


def detail(conversation: Conversation) -> Json:
    """GET conversation/{id}: the tree as it is after this look."""
    conversation.look()
    tree = conversation.messages
    return {
        "title": conversation.title,
        "create_time": conversation.created,
        "update_time": conversation.updated,
        "mapping": tree.mapping(),
        "moderation_results": [],
        "current_node": tree.current,
        "conversation_id": conversation.id,
        "is_archived": conversation.is_archived,
        "default_model_slug": conversation.slug,
        "gizmo_id": conversation.gizmo_id,
        "async_status": _async_status(conversation),
        "is_do_not_remember": conversation.is_do_not_remember,
        "is_starred": conversation.is_starred,
        "memory_scope": "global_enabled",
    }


def stream_status(conversation: Conversation) -> Json:
    """GET conversation/{id}/stream_status; it is a look, too."""
    if conversation.status is not None:
        return {"status": conversation.status}
    if conversation.streaming:
        conversation.look()
    return {"status": "IS_STREAMING" if conversation.streaming else "COMPLETE"}


def branch(conversation: Conversation, *, limit: int = 1000) -> Json:
    """GET conversations/{id}: the messages of the current branch, oldest first (protocol.md 5.8)."""
    shown = detail(conversation)
    messages, place = [], shown["current_node"]
    while place is not None:
        node = shown["mapping"][place]
        messages += [node["message"]] if node["message"] else []
        place = node["parent"]
    more = len(messages) > limit
    page = {"start_cursor": None, "end_cursor": None, "has_previous_page": more, "has_next_page": False}
    rest = {key: value for key, value in shown.items() if key != "mapping"}
    return rest | {"messages": messages[:limit][::-1], "page_info": page, "is_temporary_chat": False}


def patch(conversations: Conversations, found: list[Conversation], changes: ConversationPatch) -> Json:
    """PATCH of one conversation or of all."""
    for conversation in found:
        if changes.is_visible is False:
            conversations.delete(conversation)
        if changes.is_archived is not None:
            conversation.is_archived = changes.is_archived
        if changes.is_starred is not None:
            conversation.is_starred = changes.is_starred
        if changes.is_do_not_remember is not None:
            conversation.is_do_not_remember = changes.is_do_not_remember
        conversation.gizmo_id = changes.gizmo_id or conversation.gizmo_id
        conversation.title = changes.title or conversation.title
    return {"success": True}


def titled(conversation: Conversation, message_id: str) -> Json:
    """POST conversation/gen_title/{id}: the first words of that message; 404 for a message that is not there."""
    words = said_in(conversation, message_id).split()
    conversation.title = " ".join(words[:4]) or conversation.title
    return {"title": conversation.title}


def said_in(conversation: Conversation, message_id: str) -> str:
    """The text of one message of the assistant; 404 for any other."""
    message = conversation.messages.message(message_id)
    if message is None or message["author"]["role"] != "assistant":
        raise refused("message_not_found")
    parts = message["content"].get("parts", [])
    return "\n".join(part for part in parts if isinstance(part, str))


def from_sandbox(files: Files, caller: Caller, conversation: Conversation, asked: tuple[str, str], origin: str) -> Json:
    """GET conversation/{id}/interpreter/download (protocol.md 6.5); asked: (message id, path in the sandbox)."""
    account: Account = caller.account
    if account.sandbox == "expired":
        return EXPIRED
    message_id, path = asked
    if account.sandbox == "gone" or message_id not in conversation.answers or path not in conversation.sandbox:
        raise refused("file_not_found")
    found = files.download(account, conversation.sandbox[path], origin)
    return {key: found[key] for key in ("status", "download_url", "file_name", "mime_type")}


def _row(conversation: Conversation) -> Json:
    return {
        "id": conversation.id,
        "title": conversation.title,
        "create_time": _iso(conversation.created),
        "update_time": _iso(conversation.updated),
        "mapping": None,
        "current_node": None,
        "conversation_template_id": conversation.gizmo_id,
        "gizmo_id": conversation.gizmo_id,
        "is_archived": conversation.is_archived,
        "is_starred": None,
        "workspace_id": None,
        "async_status": _async_status(conversation),
        "safe_urls": [],
    }


def _async_status(conversation: Conversation) -> int | None:
    if not conversation.pending or conversation.streaming:
        return None
    return conversation.async_status or UNDER_WAY


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
