"""What may stand in a cassette: the names whose values are kept, in headers, queries, paths and JSON.

Rule: an allow-list. A name that is not here has its value replaced. Kept values still lose what looks like a secret
(`strings`), so a name here is a promise about form, not about content. Names are those of protocol.md.
"""

import re
from typing import Literal

Rule = Literal["plain", "text", "secret"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Values that are the protocol's own: enumerations, times, sizes, model names, upstream's sentences about errors.
PLAIN = _words("""
    accepted_mime_types action alg arkose asset_pointer async_status async_task_type aud blocked_features
    category channel chatgpt_plan_type clears_in client_prepare_state command content_type
    conversation_mode create_time created creation_time custom_symbol_offsets default_model default_model_slug
    detail difficulty direction download_url enabled_tools end_idx end_ix end_turn error error_code
    error_description event exp expire_after expire_at expires expires_at expires_in feature feature_name
    features file_size file_size_bytes finish_details finish_reason finished_duration_sec
    force_paragen_model_slug format from grant_type height iat image_mime_types iss kind language loc marker
    max_tokens message_type mimeType mime_type model model_adjustments model_slug msg nbf o object p pad
    paragen_cot_summary_display_override persona plan_type proofofwork pub_date rating reasoning_status
    recipient ref_id ref_index ref_type remaining requested_default_model requested_model_slug reset_after
    resets_after resets_at resolved_model_slug response_format_name retrieval_index_status role safe_urls scope
    scp seed size size_bytes slug source start_idx start_ix state status stop stop_tokens stream_name structure
    subscription_level subscription_plan supported_encodings system_hints tags thinking_effort timezone
    timezone_offset_min token_count token_type tool_name total turn_index turn_use_case typ type update_time
    upload_url url urls use_case variant_purpose voice websocket_url weight width wss_url
""")

# Values that say nothing about anybody, whatever their name is.
CONSTANTS = _words("client-created-root no-token default absolute auto")

# What people and models say. Kept, or redacted on demand.
TEXT = _words("""
    alt attribution caption chunks content description domain finished_text human_category_name image_gen_title
    initial_text instructions matched_text message model_set_context output parts prompt prompt_starters
    prompt_text queries reasoning_title result snippet summary text thoughts title user_instructions
    user_profile
""")

# The same name means different things in different places: (name around it, name) -> rule.
PLACED: dict[tuple[str, str], Rule] = {
    ("author", "name"): "plain",
    ("error", "message"): "plain",
    # Elsewhere it is what a log-in is exchanged for (OAuth).
    ("error", "code"): "plain",
    ("detail", "code"): "plain",
    ("detail", "message"): "plain",
    ("blocked_features", "name"): "plain",
}

REQUEST_HEADERS = _words("""
    accept accept-language content-type oai-client-build-number oai-client-version oai-language origin referer
    user-agent x-openai-target-path x-openai-target-route
""")
RESPONSE_HEADERS = _words("""
    access-control-allow-origin cache-control content-type location retry-after transfer-encoding vary
    x-content-type-options
""")
# Kept with a pseudonym for a value, so that the recording says who asked and that it proved what was asked.
CREDENTIAL_HEADERS = _words("""
    authorization chatgpt-account-id oai-device-id oai-session-id openai-sentinel-arkose-token
    openai-sentinel-chat-requirements-prepare-token openai-sentinel-chat-requirements-token
    openai-sentinel-proof-token openai-sentinel-so-token openai-sentinel-turnstile-token x-conduit-token
    x-oai-turn-trace-id x-request-id
""")
# Of cookies those that say who somebody is or that they passed a check; the protocol needs no others.
COOKIE_HEADERS = _words("cookie set-cookie")
COOKIES = re.compile(r"__Secure-next-auth\.session-token(?:\.\d+)?|cf_clearance|_puid|oai-did|oai-device-id|__cf_bm")
COOKIE_ATTRIBUTES = _words("path secure httponly samesite max-age")

QUERY = _words("""
    cursor format gizmo history_and_training_disabled iim index inline is_archived is_gizmo is_starred limit
    model offset order utm_source voice
""")
# Words of the paths that protocol.md names; anything else in a path of upstream is an id of somebody's.
PATH = _words("""
    accounts api arkose attachment auth backend-anon backend-api bootstrap c celsius chat chat-requirements
    check completions content conversation conversations create discovery download edge estuary f files finalize
    gen_title gizmos init interpreter lat logout_all me memories message_feedback models oauth p p3 ping pinned
    prepare process_upload_stream profile prompt_library public-api r recent register-websocket req responses
    resume sentinel session settings share stop_conversation stream_status synthesize textdocs token transcribe
    uploaded user user_system_messages v1 v4-2023-04-27 ws
""")
# Their paths are of upstream's own words; a stand-in or a gateway listens on loopback.
UPSTREAM_HOSTS = re.compile(
    r"(?:[\w-]+\.)*(?:chatgpt\.com|openai\.com|oaiusercontent\.com|oaistatic\.com)|localhost|127\.0\.0\.1|\[::1\]"
)

# Lines of an event stream that are no JSON. `v1` is the announcement of the delta encoding (protocol.md 5.2); comments
# are pings, with or without a time.
EVENT_NAMES = re.compile(r"[a-z][a-z_.]{0,40}")
STREAM_WORDS = frozenset({"", "[DONE]", "v1"})
COMMENT = re.compile(r" ?ping[ -]*[\d :.+TZ-]*")
# 80 characters, because keys can be ids or texts of somebody's, and names that programmers give are shorter.
_NAME = re.compile(r"[A-Za-z$_][\w.:/#@-]{0,80}")


def rule_of(path: tuple[str | int, ...]) -> Rule | None:
    """The rule for a value at this place of a document, or None where its name is not known."""
    # The last four steps hold the two names that count, with list indexes between and behind them.
    names = [step for step in path[-4:] if isinstance(step, str)]
    if not names:
        return None
    placed = PLACED.get((names[-2], names[-1])) if len(names) > 1 else None
    return placed or ("plain" if names[-1] in PLAIN else "text" if names[-1] in TEXT else None)


def is_name(key: str) -> bool:
    """Whether a key of an object looks like one a programmer gave it."""
    return _NAME.fullmatch(key) is not None
