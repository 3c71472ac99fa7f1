"""What upstream says when it says no, and what the client is told (protocol.md 9).

Rules: two tables, first by code or sentence, then by status. Here alone upstream's words are recognised, and become
facts of the error (`about`, `sent`); nobody looks for them again. Upstream's own sentence is passed on, shortened and
without anything that looks like a token or is a marker.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from shim.errors import (
    MAX_WAIT_SECONDS,
    About,
    CredentialError,
    Evidence,
    Field,
    GatewayError,
    LimitError,
    RefusedError,
    RequestError,
    Sent,
    UpstreamError,
)

# Characters of upstream's words: a sentence is told, and no page.
_MAX_SENTENCE = 300
_MAIL = re.compile(r"[^\s@<>\"'(),:;]+@[\w-]+(?:\.[\w-]+)+")
_TELLING = re.compile(r"retry-after|cf-mitigated|(?:x-)?ratelimit(?:-[\w-]+)?|x-codex-[\w-]+")  # headers of limits
_MAX_HEADERS = 240
# JWTs, the sentinel's tokens and whatever they were sealed to, keys by their prefix, and any word that long (8).
_TOKEN = re.compile(r"eyJ[\w-]{8,}(?:\.[\w-]*)*|gAAAA[\w+/=-]{8,}|\b(?:sk|rt|sess)[-_][\w.-]{12,}|[\w.~+/=-]{45,}")
_MARKS = re.compile("[\ue200-\ue206]")  # citation markers, which nobody is to see (5.4)
# What pages of a browser check have in them; an outage has a page as well, and none of these (9.1).
_CHALLENGE = (b"cf-please-wait", b"cf-spinner-please-wait", b"Just a moment...", b"challenge-platform")
_CONTENT_TYPE_HTML = "text/html"
_CODE = re.compile(r"[\w.-]{1,64}", re.ASCII)
_HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"  # the one form of RFC 9110 5.6.7 that is still sent
_MILLISECONDS = 1e11  # a time beyond this is not in seconds: that would be the year 5138
_NEVER = 1e15  # an integer of any size is a number in JSON, and not every one fits a float
# An account that is closed for good, whatever token it comes with.
_CLOSED = "account_deactivated"
_EXPIRED = "token_expired"
_OVERLOADED = "server_is_overloaded"
_WAVE_SECONDS = 6.0  # three of them, as often as RETRY_TIMES tries again, outlast a wave
_MODEL_CAP = "model_cap_exceeded"
_ONE_TURN = "one message at a time"  # of the account; the other turn is soon over
# Statuses that say the origin, or what stands in front of it, is not well.
# 501 and 505 are about the request, and no other origin would say anything else.
_UNWELL = frozenset({500, 502, 503, 504, *range(520, 525)})

TURNSTILE_REQUIRED = "The upstream asked for a Turnstile check, which this gateway does not perform"


class RefusalDetail(msgspec.Struct, frozen=True):
    """An upstream error taken apart: where from, and the `detail` in whichever of its forms it came."""

    status: int
    message: str = ""
    code: str | None = None
    clears_in: float | None = None
    resets_at: float | None = None


def refusal_of(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """The error for an upstream HTTP answer that is not the expected one. `headers` has lower-case names."""
    is_page = headers.get("content-type", "").lower().startswith(_CONTENT_TYPE_HTML)
    if is_page and any(marker in body for marker in _CHALLENGE):
        page = RefusedError(
            "Upstream answered with a browser check page instead of the API", code="cf-please-wait", about=About.ADDRESS
        )
        return page.witnessed(_evidence(status, headers, "a browser check page"))
    # From here on it is upstream's own word, so its sentence may be passed on.
    try:
        answer = msgspec.json.decode(body)
    except (ValueError, RecursionError):  # not JSON, not UTF-8, or nested beyond the decoder's depth
        answer = None
    refusal = _of_detail(status, answer.get("detail") if isinstance(answer, dict) else None)
    # What the body says belongs to the limit that was reached; the header's time may be the edge's.
    if refusal.clears_in is None:
        refusal = _with_retry_after(refusal, headers.get("retry-after", "").strip())
    error = _by_sentence(refusal) or _BY_STATUS.get(refusal.status, _broken)(refusal)
    return error.witnessed(_evidence(status, headers, refusal.message or refusal.code or ""))


def failure_of(error: Any, code: Any = None) -> GatewayError:
    """The error for an `error` or `detail` inside the stream (protocol.md 9.4): text, or an object."""
    refusal = _of_detail(502, error)
    if refusal.code is None:
        refusal = msgspec.structs.replace(refusal, code=_code_of(code))
    failure = _by_sentence(refusal) or UpstreamError(
        _sentence("Upstream broke off with an error", refusal), code=refusal.code or "upstream_error"
    )
    return failure.witnessed(_evidence(0, {}, refusal.message or refusal.code or ""))


def turnstile_required() -> GatewayError:
    """The one answer to a challenge this project does not solve (protocol.md 2.7)."""
    return RefusedError(TURNSTILE_REQUIRED, type="upstream_challenge", code="turnstile_required", about=About.CHECK)


def _of_detail(status: int, detail: Any) -> RefusalDetail:
    match detail:
        case str():
            return RefusalDetail(status, detail)
        # Before the next one, for an object with both has the sentence and the code.
        case {"message": message, **rest}:
            code, clears_in = rest.get("code"), rest.get("clears_in")
            return RefusalDetail(
                status,
                message if isinstance(message, str) else "",
                _code_of(code),
                _seconds_of(clears_in),
                _moment_of(rest.get("resets_at")),
            )
        case {"code": str(code)}:
            return RefusalDetail(status, code=_code_of(code))
        # How upstream's framework says what is wrong with a field; the first is enough to begin with.
        case [{"msg": str(message), "loc": list(place)}, *_]:
            return RefusalDetail(status, f"{message} at {'.'.join(str(step) for step in place)}")
        case _:
            return RefusalDetail(status)


def _code_of(code: Any) -> str | None:
    """A code is a short word; anything else, and anything that looks like a token, is not passed on."""
    return code if isinstance(code, str) and _CODE.fullmatch(code) and not _TOKEN.search(code) else None


def _with_retry_after(refusal: RefusalDetail, value: str) -> RefusalDetail:
    """Retry-After: a span in seconds, or an HTTP date."""
    if value.isdecimal():
        return msgspec.structs.replace(refusal, clears_in=_seconds_of(float(value)))
    # The body's own time, which knows the limit; the header's may be the edge's.
    if refusal.resets_at is not None:
        return refusal
    try:
        moment = datetime.strptime(value, _HTTP_DATE).replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return refusal
    return msgspec.structs.replace(refusal, resets_at=moment)


def _seconds_of(value: Any) -> float | None:
    return float(min(max(value, 0), MAX_WAIT_SECONDS)) if isinstance(value, int | float) else None


def _moment_of(value: Any) -> float | None:
    """A time in seconds (or, by its size, milliseconds) since 1970, sent as such or as ISO text."""
    if isinstance(value, int | float):
        moment = float(min(max(value, 0), _NEVER))
        return moment / 1000 if moment > _MILLISECONDS else moment
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def _sentence(lead: str, refusal: RefusalDetail) -> str:
    said = _passable(refusal.message)
    return f"{lead}: {said}" if said else lead


def _passable(text: str) -> str:
    """What may be shown of upstream's words, in one line: a terminal would obey what is not printable."""
    said = _MAIL.sub("…@…", _TOKEN.sub("…", _MARKS.sub("", text)))[:_MAX_SENTENCE]
    return "".join(letter if letter.isprintable() else " " for letter in said).strip()


def _evidence(status: int, headers: Mapping[str, str], words: str) -> Evidence:
    telling = (f"{name}: {value.strip()[:80]}" for name, value in headers.items() if _TELLING.fullmatch(name))
    return Evidence(status, _passable(words), _passable("; ".join(telling))[:_MAX_HEADERS])


def _limit(refusal: RefusalDetail) -> GatewayError:
    about = About.ACCOUNT
    if refusal.code == _MODEL_CAP:
        about = About.MODEL
    elif _ONE_TURN in refusal.message.lower():
        about = About.TURNS
    return LimitError(
        _sentence("Upstream's limit is reached", refusal),
        code=refusal.code or "rate_limit_exceeded",
        retry_after=refusal.clears_in,
        resets_at=refusal.resets_at,
        about=about,
    )


def _too_long(refusal: RefusalDetail) -> GatewayError:
    # Status, code and words are what clients look for before they shorten a conversation by themselves.
    return RequestError(
        _sentence("The prompt is too long: upstream's maximum context length is exceeded", refusal),
        code="context_length_exceeded",
        param=Field.PROMPT,
    )


def _policy(refusal: RefusalDetail) -> GatewayError:
    return RequestError(
        _sentence("Upstream's content policy refused this", refusal),
        code="content_policy_violation",
        param=Field.PROMPT,
        about=About.CONTENT,
    )


def _no_model(refusal: RefusalDetail) -> GatewayError:
    return RequestError(
        _sentence("Upstream does not offer this model here", refusal),
        status=404,
        code="model_not_found",
        param=Field.MODEL,
    )


def _no_conversation(refusal: RefusalDetail) -> GatewayError:
    return RequestError(
        _sentence("Upstream does not know this conversation", refusal), status=404, code="conversation_not_found"
    )


def _credential(refusal: RefusalDetail) -> GatewayError:
    return CredentialError(
        _sentence("Upstream did not accept the access token", refusal),
        cause=refusal.code or "unauthorized",
        about=About.ACCOUNT if refusal.code == _CLOSED else About.TOKEN,
        expired=refusal.code == _EXPIRED,
    )


def login_free_refused(error: GatewayError) -> GatewayError:
    """What a refusal of a turn without an account means (2.8): upstream's own decision, whoever asks again."""
    return RefusedError(
        f"{error.message.rstrip('.')}. Upstream answers chats without an account only to browsers: use an account",
        about=error.about,
    )


def _forbidden(refusal: RefusalDetail) -> GatewayError:
    return RefusedError(_sentence("Upstream refused this request", refusal))


def _invalid(refusal: RefusalDetail) -> GatewayError:
    return RequestError(_sentence("Upstream did not accept the request", refusal), code=refusal.code)


def _broken(refusal: RefusalDetail) -> GatewayError:
    """A 5xx is upstream's word that it did nothing; any other status says nothing certain about that."""
    return UpstreamError(
        _sentence(f"Upstream answered {refusal.status}", refusal),
        code=(refusal.code if refusal.status >= 500 else None) or f"upstream_{refusal.status}",
        about=About.ORIGIN if refusal.status in _UNWELL else About.UPSTREAM,
        sent=Sent.DECLINED if 500 <= refusal.status < 600 else Sent.MAYBE_TAKEN,
    )


def _overloaded(refusal: RefusalDetail) -> GatewayError:
    """Waves of overload pass in some 17 seconds (9.1). They are no limit of the account's, and no other origin has less
    of them."""
    return UpstreamError(
        _sentence("Upstream is overloaded", refusal),
        code=_OVERLOADED,
        about=About.UPSTREAM,
        sent=Sent.DECLINED,
        retry_after=_WAVE_SECONDS,
    )


# A word that decides whatever the status (found in the code or in the sentence), and what it means.
_BY_SENTENCE = (
    # Before the limits: what it says of itself is no limit of the account's (9.1).
    (re.compile(r"server_is_overloaded"), _overloaded),
    # In a code or in a sentence, and whatever the status (6.5, 9.1).
    (re.compile(r"content_policy", re.I), _policy),
    (re.compile(r"conversation_too_large|message_length_exceeds_limit|context_length_exceeded", re.I), _too_long),
    # Upstream has said these with other statuses than 429, also in the stream (9.1).
    (re.compile(r"model_cap_exceeded|work_usage_limit_exceeded|too many|only one message at a time", re.I), _limit),
    (re.compile(r"rate.?limit|usage limit|reached .{0,40}limit", re.I), _limit),
    (re.compile(r"model_not_found|gizmo not found", re.I), _no_model),
    (
        re.compile(
            r"conversation_(not_found|expired|deleted|inaccessible)|conversation not found|can't load conversation",
            re.I,
        ),
        _no_conversation,
    ),
    (re.compile(r"token_(expired|invalidated|revoked)|invalid_jwt|account_deactivated", re.I), _credential),
)

# What a status means where no word says more. 409 is a second turn beside one under way.
_BY_STATUS: dict[int, Callable[[RefusalDetail], GatewayError]] = {
    400: _invalid,
    401: _credential,
    403: _forbidden,
    409: _limit,
    413: _too_long,
    422: _invalid,
    429: _limit,
}


def _by_sentence(refusal: RefusalDetail) -> GatewayError | None:
    text = f"{refusal.code or ''} {refusal.message}"
    for pattern, build in _BY_SENTENCE:
        if pattern.search(text):
            return build(refusal)
    return None
