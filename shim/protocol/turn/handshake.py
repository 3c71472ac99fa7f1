"""The handshake before a turn: requirements, proof, Arkose, then the conversation call (protocol.md 2, 3, 4.5).

Rule: a generator of commands. It decides, the driver performs; what it returns is the call that opens the stream.
A requirement token serves one turn, so every turn walks through here once; its first part may be done ahead (`clear`).
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

from pow import Challenge, ClientProfile, proof_config, requirements_token
from shim.chatgpt.conversation import Conversation
from shim.chatgpt.sentinel import ProofOfWork, Requirements, requirements_decoder
from shim.errors import About, CredentialError, GatewayError, RefusedError, UpstreamError
from shim.protocol.commands import FetchArkose, Handshake, HttpReply, HttpRequest, SolvePow, ask
from shim.protocol.models import model_not_found
from shim.protocol.refusals import login_free_refused, refusal_of, turnstile_required
from shim.protocol.turn.conversation import encode_conversation
from shim.protocol.upstream import Upstream

_PROOF_ATTEMPTS = 2  # a challenge nobody could solve is asked anew once
_LIFE = 540.0  # seconds that a token is good for, unless upstream says less (2.1)
_MARGIN = 60.0  # before its end it is not used any more: the turn is yet to be sent
# What upstream calls an account with a plan (2.1), and the slugs that others are refused (4.3).
_PAID = "chatgpt-paid"
_PAID_ONLY = frozenset({"gpt-4"})


class HandshakeOptions(msgspec.Struct, frozen=True):
    """How this installation shakes hands.

    `pow_floor` is a difficulty: strictly harder ones are refused untried. `turnstile` decides what happens when a
    challenge is asked for that is not solved here: `pass` goes on without and lets upstream decide, `refuse` ends it.
    `sentinel` is the flow of the requirements: `auto` takes two steps, and one where upstream has no such call.
    """

    profile: ClientProfile
    sentinel: Literal["auto", "one-step", "two-step"] = "auto"
    conversation_only: bool = False
    turnstile: Literal["pass", "refuse"] = "pass"
    pow_floor: str = "000032"


class Moment(msgspec.Struct, frozen=True):
    """When and in which session a proof is made: the clock and the ids, as arguments."""

    now: datetime
    performance_ms: float
    session_id: str


class OpeningCall(msgspec.Struct, frozen=True):
    """The call that opens the answer stream. `challenged` tells that a check we do not perform was asked for, which
    is then what a 403 means, and `ahead` that its clearance was made before anybody asked for the turn."""

    request: HttpRequest
    challenged: bool = False
    anonymous: bool = False
    ahead: bool = False

    def refused(self, reply: HttpReply) -> GatewayError:
        """The error for an answer to `request` that is not an event stream."""
        # The sentence is the same for every check that fails (2.7), so only what was asked for tells which it was.
        if reply.status == 403 and self.challenged:
            return turnstile_required()
        # JSON for the socket mode of 2024, which nobody serves any more (5.5).
        if reply.status == 200:
            return UpstreamError("Upstream did not answer with an event stream", code="upstream_content_type")
        error = refusal_of(reply.status, reply.headers, reply.body)
        return login_free_refused(error) if self.anonymous and error.about is About.ACCESS else error


def is_event_stream(status: int, headers: Mapping[str, str]) -> bool:
    """Whether upstream took the turn and answers it. Header names are lower case."""
    return status == 200 and headers.get("content-type", "").lower().startswith("text/event-stream")


class Clearance(msgspec.Struct, frozen=True):
    """What upstream admits one turn with: its requirements as they were finally told, and the proof where one was asked
    for. `token` is that of the requirements."""

    token: str
    requirements: Requirements
    proof: str | None
    two_step: bool

    @property
    def seconds(self) -> float:
        """For how long after it was made it can be used."""
        told = self.requirements.expire_after
        return (min(_LIFE, told) if isinstance(told, int | float) else _LIFE) - _MARGIN


class ConversationCall(msgspec.Struct, frozen=True):
    """The conversation call itself, whoever made its body: `slug` is the model in it, `headers` go along with it."""

    body: bytes
    slug: str
    path: str = "conversation"
    headers: dict[str, str] = {}


def open_turn(
    upstream: Upstream,
    conversation: Conversation,
    options: HandshakeOptions,
    moment: Moment,
    cleared: Clearance | None = None,
) -> Handshake[OpeningCall]:
    """Everything up to the conversation call, with a clearance that was made ahead where there is one. Raises
    GatewayError where the turn can't be had."""
    call = ConversationCall(encode_conversation(conversation), conversation.model)
    return open_call(upstream, call, options, moment, cleared)


def open_call(
    upstream: Upstream,
    call: ConversationCall,
    options: HandshakeOptions,
    moment: Moment,
    cleared: Clearance | None = None,
) -> Handshake[OpeningCall]:
    """As `open_turn`, for a body that is there already."""
    # Another gateway is upstream: it does the handshake itself, and would refuse one of ours.
    if options.conversation_only:
        return OpeningCall(upstream.post(call.path, call.body, call.headers, stream=True))
    ahead = cleared is not None
    if cleared is None:
        cleared = yield from clear(upstream, options, moment, call.slug)
    else:
        _check_slug(cleared.requirements, call.slug)
    requirements = cleared.requirements
    headers = call.headers | {"openai-sentinel-chat-requirements-token": cleared.token}
    if cleared.two_step and requirements.prepare_token:
        headers["openai-sentinel-chat-requirements-prepare-token"] = requirements.prepare_token
    if cleared.proof is not None:
        headers["openai-sentinel-proof-token"] = cleared.proof
    if (arkose := requirements.arkose) is not None and arkose.required:
        # What the token service is told of the account: which of its two keys the token is for (3).
        method: Literal["chat35", "chat4"] = "chat35" if requirements.persona == "chatgpt-freeaccount" else "chat4"
        token = yield FetchArkose(arkose.dx, method)
        assert isinstance(token, str)  # noqa: S101  the driver's contract (commands.py)
        headers["openai-sentinel-arkose-token"] = token
    opening = upstream.post(call.path, call.body, headers, stream=True)
    anonymous = upstream.identity.access_token is None
    return OpeningCall(opening, _challenged(requirements), anonymous=anonymous, ahead=ahead)


def clear(
    upstream: Upstream, options: HandshakeOptions, moment: Moment, slug: str | None = None
) -> Handshake[Clearance]:
    """What a turn is admitted with, whatever it asks; `slug` is its model where that is known. Raises GatewayError."""
    config = proof_config(
        options.profile, now=moment.now, performance_ms=moment.performance_ms, session_id=moment.session_id
    )
    # The requirements are asked for anew with each attempt, for a challenge that was given up stays unsolved.
    for _attempt in range(_PROOF_ATTEMPTS):
        requirements, two_step = yield from _requirements(upstream, config, options.sentinel)
        # What is known not to work is refused before the proof, which may cost seconds of a core. A new device id is no
        # way around `force_login`.
        if requirements.force_login:
            raise CredentialError("Upstream wants a log-in: use an access token")
        # Unless it is to be refused the turn is sent without: upstream often asks for the check and does not insist.
        if options.turnstile == "refuse" and _challenged(requirements):
            raise turnstile_required()
        _check_slug(requirements, slug)
        proof, solved = yield from _proof(requirements.proofofwork, config, options.pow_floor)
        if solved:
            break
    else:
        raise RefusedError("proof of work not solved", code="proof_of_work_not_solved")
    # The proof was made for the first step; the token for the turn is what the second gives for it (2.2).
    if two_step:
        requirements = yield from _finalize(upstream, requirements, proof)
    if not requirements.token:
        raise UpstreamError("Upstream gave no requirement token", code="upstream_sentinel")
    return Clearance(requirements.token, requirements, proof, two_step)


def _requirements(
    upstream: Upstream, config: list[object], sentinel: Literal["auto", "one-step", "two-step"]
) -> Handshake[tuple[Requirements, bool]]:
    """(what the turn has to bring, whether a second step follows). Upstream has both flows, and either may be away: a
    first call that is missing or fails says nothing about the other flow's, so that one is tried once (2)."""
    two_step = sentinel != "one-step"
    body = _encode({"p": requirements_token(config)})
    paths = "sentinel/chat-requirements", "sentinel/chat-requirements/prepare"
    try:
        return (yield from _ask(upstream.post(paths[two_step], body))), two_step
    except UpstreamError:
        if sentinel != "auto":
            raise
    return (yield from _ask(upstream.post(paths[not two_step], body))), not two_step


def _finalize(upstream: Upstream, prepared: Requirements, proof: str | None) -> Handshake[Requirements]:
    """Step two: the proof is handed in and the token comes back; what was asked for stays asked for."""
    if not prepared.prepare_token:
        raise UpstreamError("Upstream gave no prepare token", code="upstream_sentinel")
    body = {"prepare_token": prepared.prepare_token}
    if proof is not None:
        body["proofofwork"] = proof
    request = upstream.post("sentinel/chat-requirements/finalize", _encode(body))
    final = yield from _ask(request, challenged=_challenged(prepared))
    return msgspec.structs.replace(
        prepared, token=final.token, persona=final.persona or prepared.persona, expire_after=final.expire_after
    )


def _ask(request: HttpRequest, *, challenged: bool = False) -> Handshake[Requirements]:
    reply = yield from ask(request)
    # Nothing else in the answer says why; a check that was asked for and is not done here is the likeliest reason.
    if reply.status == 403 and challenged:
        raise turnstile_required()
    if reply.status != 200:
        raise refusal_of(reply.status, reply.headers, reply.body)
    try:
        return requirements_decoder.decode(reply.body)
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or nested beyond the decoder's depth
        raise UpstreamError(
            "Upstream's requirements are not what the protocol says", code="upstream_sentinel"
        ) from error


def _check_slug(requirements: Requirements, slug: str | None) -> None:
    if slug in _PAID_ONLY and requirements.persona not in {None, _PAID}:
        raise model_not_found(slug)


def _challenged(requirements: Requirements) -> bool:
    turnstile, so = requirements.turnstile, requirements.so
    return bool((turnstile is not None and turnstile.required) or (so is not None and so.required))


def _proof(asked: ProofOfWork | None, config: list[object], floor: str) -> Handshake[tuple[str | None, bool]]:
    """(the proof or None, whether what was asked for is there)."""
    if asked is None or not asked.required:
        return None, True
    try:
        challenge = Challenge(asked.seed or "", asked.difficulty or "")
    except ValueError as error:
        raise UpstreamError("Upstream's proof of work challenge is malformed", code="upstream_sentinel") from error
    # A bound of the operator's: an upstream that asks for too much must not get all of the cores.
    if challenge.is_harder_than(floor):
        raise RefusedError(
            f"Upstream's proof of work ({challenge.difficulty}) is harder than POW_DIFFICULTY ({floor}) allows",
            code="proof_of_work_too_hard",
            about=About.CHECK,
        )
    proof = yield SolvePow(challenge, config)
    assert not isinstance(proof, HttpReply)  # noqa: S101  the driver's contract (commands.py)
    return proof, proof is not None


_encode = msgspec.json.Encoder().encode
