"""The handshake as narrated conversations: each command it yields, what it is told, and what comes of it."""

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from pow import Challenge, ClientProfile, proof_config, verify_requirements_token
from shim.apis.openai_errors import envelope
from shim.chatgpt.conversation import Conversation, SentAuthor, SentContent, SentMessage
from shim.errors import CredentialError, GatewayError, RefusedError, RequestError, UpstreamError
from shim.protocol.commands import FetchArkose, Handshake, HttpReply, HttpRequest, Send, SolvePow
from shim.protocol.turn.conversation import encode_conversation
from shim.protocol.turn.handshake import HandshakeOptions, Moment, OpeningCall, open_turn
from shim.protocol.turn.model_list import list_models
from shim.protocol.upstream import Identity, Upstream

DEVICE = "00000000-0000-4000-8000-000000000001"
ACCOUNT = "00000000-0000-4000-8000-00000000aaaa"
TOKEN = "eyJhbGciOi.access.token"
ORIGIN = "https://upstream.test"
ANONYMOUS = Identity(DEVICE)
LOGGED_IN = Identity(DEVICE, TOKEN)
PROFILE = ClientProfile(user_agent="Test/1.0", language="de-DE", languages="de-DE,de")
OPTIONS = HandshakeOptions(PROFILE, sentinel="one-step")
MOMENT = Moment(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), 1234.5, DEVICE)
CONFIG = proof_config(PROFILE, now=MOMENT.now, performance_ms=MOMENT.performance_ms, session_id=DEVICE)


def conversation(slug: str = "auto") -> Conversation:
    said = SentMessage("m1", SentAuthor("user"), SentContent(["Hello"]), 1.5)
    return Conversation([said], "p0", slug, history_and_training_disabled=True, websocket_request_id="w1")


BODY = encode_conversation(conversation())


def reply(status: int = 200, body: object = None, **headers: str) -> HttpReply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpReply(status, {"content-type": "application/json", **headers}, raw)


class Playbook:
    """Feeds a generator its replies, one expected command after the other.

    `asks(check)` compares the command at hand, `told(reply)` goes on, `then_*` ends it. Order is enforced: whatever is
    left over or missing fails.
    """

    def __init__(self, handshake: Handshake[Any]) -> None:
        self._handshake = handshake
        self._result: Any = None
        self._error: GatewayError | None = None
        self._command: Any = None
        self._step(lambda: next(handshake))

    def _step(self, go_on: Callable[[], Any]) -> None:
        self._command = None
        try:
            self._command = go_on()
        except StopIteration as end:
            self._result = end.value
        except GatewayError as error:
            self._error = error

    def told(self, answer: Any) -> "Playbook":
        assert self._command is not None, f"nothing is asked any more: {self._result} {self._error}"
        self._step(lambda: self._handshake.send(answer))
        return self

    def asks(self, command: Any) -> "Playbook":
        assert self._command == command
        return self

    def sends(self, path: str, body: object = ..., **headers: str) -> "Playbook":
        """A POST to `path`, with this JSON body and at least these headers."""
        assert isinstance(self._command, Send)
        request = self._command.request
        assert request.url == ORIGIN + path
        assert request.method == "POST"
        assert headers.items() <= request.headers.items()
        assert not [name for name in request.headers if name.startswith("openai-sentinel")]
        if body is not ...:
            assert json.loads(request.body) == body
        return self

    def sends_requirements(self, path: str = "/backend-anon/sentinel/chat-requirements") -> "Playbook":
        self.sends(path)
        (item,) = json.loads(self._command.request.body).items()
        assert item[0] == "p"
        assert verify_requirements_token(item[1])
        return self

    def then_turn(self) -> OpeningCall:
        assert self._command is None, f"it still asks: {self._command}"
        assert self._error is None
        assert isinstance(self._result, OpeningCall)
        return self._result

    def then_fails(self, kind: type[GatewayError], code: str | None, status: int | None = None) -> GatewayError:
        assert self._command is None, f"it still asks: {self._command}"
        assert type(self._error) is kind
        assert self._error.code == code
        assert status is None or self._error.http_status == status
        return self._error


def opening(identity: Identity = ANONYMOUS, slug: str = "auto", **options: Any) -> Playbook:
    chosen = HandshakeOptions(PROFILE, **{"sentinel": "one-step"} | options)
    return Playbook(open_turn(Upstream(ORIGIN, identity, PROFILE), conversation(slug), chosen, MOMENT))


def sentinel_headers(request: HttpRequest) -> dict[str, str]:
    prefix = "openai-sentinel-"
    return {name.removeprefix(prefix): value for name, value in request.headers.items() if name.startswith(prefix)}


def needs(token: str | None = "req1", **checks: Any) -> HttpReply:
    """A requirements answer as in 2.1."""
    return reply(body={"persona": "chatgpt-noauth", "token": token, "expire_after": 540, **checks})


EASY = {"required": True, "seed": "0.42", "difficulty": "0fffff"}


# --- one step (2.1, 4.5) ----------------------------------------------------------------------------------------------


def test_an_anonymous_turn() -> None:
    play = opening().sends_requirements()
    play.told(needs(proofofwork=EASY, arkose={"required": False}, turnstile={"required": False}))
    play.asks(SolvePow(Challenge("0.42", "0fffff"), CONFIG))
    turn = play.told("gAAAAABproof").then_turn()
    assert turn.request.url == ORIGIN + "/backend-anon/conversation"
    assert turn.request.method == "POST"
    assert turn.request.body == BODY
    assert not turn.challenged
    assert sentinel_headers(turn.request) == {"chat-requirements-token": "req1", "proof-token": "gAAAAABproof"}


def test_nothing_is_asked_for() -> None:
    turn = opening().sends_requirements().told(needs()).then_turn()
    assert sentinel_headers(turn.request) == {"chat-requirements-token": "req1"}


@pytest.mark.parametrize(
    "checks",
    [
        {"proofofwork": None, "arkose": None, "turnstile": None, "so": None},
        {"proofofwork": {"required": False, "seed": None, "difficulty": None}},
        {"proofofwork": {}, "arkose": {}, "turnstile": {}, "so": {}},
        {"proofofwork": {"required": None}, "arkose": {"required": None}, "turnstile": {"required": None}},
        {"turnstile": {"required": False, "dx": {"of": "another type"}}, "so": {"required": False, "dx": 7}},
        {"force_login": False},
        {"force_login": None, "something_new": [1]},
    ],
)
def test_what_is_not_required_is_not_brought(checks: dict[str, Any]) -> None:
    turn = opening().told(needs(**checks)).then_turn()
    assert sentinel_headers(turn.request) == {"chat-requirements-token": "req1"}
    assert not turn.challenged


def test_the_proofs_config_is_the_one_of_p() -> None:
    play = opening()
    sent = json.loads(play._command.request.body)["p"].removeprefix("gAAAAAC")
    claimed = json.loads(base64.b64decode(sent))
    assert claimed[:3] + claimed[4:9] + claimed[10:] == CONFIG[:3] + CONFIG[4:9] + CONFIG[10:]
    assert claimed[4] == "Test/1.0"
    play.told(needs(proofofwork=EASY)).asks(SolvePow(Challenge("0.42", "0fffff"), CONFIG))


# --- two steps (2.2) --------------------------------------------------------------------------------------------------

PREPARE = "/backend-api/sentinel/chat-requirements/prepare"
FINALIZE = "/backend-api/sentinel/chat-requirements/finalize"


def prepared(**checks: Any) -> HttpReply:
    return reply(body={"persona": "chatgpt-paid", "prepare_token": "prep1", **checks})


def test_two_steps() -> None:
    play = opening(LOGGED_IN, sentinel="two-step").sends_requirements(PREPARE)
    play.told(prepared(proofofwork=EASY, turnstile={"required": False}, so={"required": False}))
    play.asks(SolvePow(Challenge("0.42", "0fffff"), CONFIG)).told("gAAAAABproof")
    play.sends(FINALIZE, {"prepare_token": "prep1", "proofofwork": "gAAAAABproof"})
    turn = play.told(reply(body={"persona": "chatgpt-paid", "token": "req1", "expire_after": 540})).then_turn()
    assert turn.request.url == ORIGIN + "/backend-api/conversation"
    assert sentinel_headers(turn.request) == {
        "chat-requirements-token": "req1",
        "chat-requirements-prepare-token": "prep1",
        "proof-token": "gAAAAABproof",
    }


def test_two_steps_without_a_proof() -> None:
    """The key `proofofwork` is there only when it was asked for."""
    play = opening(LOGGED_IN, sentinel="two-step").told(prepared()).sends(FINALIZE, {"prepare_token": "prep1"})
    turn = play.told(reply(body={"token": "req1"})).then_turn()
    assert "proof-token" not in sentinel_headers(turn.request)


def test_two_steps_bring_arkose_as_prepare_asked_for_it() -> None:
    play = opening(LOGGED_IN, sentinel="two-step").told(prepared(arkose={"required": True, "dx": "blob"}))
    play.sends(FINALIZE).told(reply(body={"token": "req1", "persona": None}))
    play.asks(FetchArkose("blob", "chat4")).told("ark1")
    assert sentinel_headers(play.then_turn().request)["arkose-token"] == "ark1"


def test_two_steps_without_a_prepare_token() -> None:
    play = opening(LOGGED_IN, sentinel="two-step").told(reply(body={"persona": "chatgpt-paid"}))
    play.then_fails(UpstreamError, "upstream_sentinel", 502)


def test_two_steps_without_a_token_at_the_end() -> None:
    play = opening(LOGGED_IN, sentinel="two-step").told(prepared()).told(reply(body={"persona": "chatgpt-paid"}))
    play.then_fails(UpstreamError, "upstream_sentinel", 502)


def test_a_403_at_the_second_step_is_the_challenge_where_one_was_asked_for() -> None:
    play = opening(LOGGED_IN, sentinel="two-step").told(prepared(turnstile={"required": True}))
    play.told(reply(403, {"detail": "Unusual activity"})).then_fails(RefusedError, "turnstile_required", 403)


def test_a_403_at_the_second_step_is_a_refusal_where_none_was() -> None:
    play = opening(LOGGED_IN, sentinel="two-step").told(prepared())
    play.told(reply(403, {"detail": "Unusual activity"})).then_fails(RefusedError, "upstream_forbidden", 403)


# --- no steps ---------------------------------------------------------------------------------------------------------


def test_conversation_only_sends_no_sentinel_headers() -> None:
    turn = opening(LOGGED_IN, conversation_only=True).then_turn()
    assert sentinel_headers(turn.request) == {}
    assert turn.request.body == BODY
    assert turn.request.headers["authorization"] == f"Bearer {TOKEN}"


# --- proof of work (2.3) ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("difficulty", ["000031", "000000", "00000", "000030ff"])
def test_a_harder_proof_is_refused_untried(difficulty: str) -> None:
    """Smaller is harder, strictly."""
    play = opening().told(needs(proofofwork=EASY | {"difficulty": difficulty}))
    error = play.then_fails(RefusedError, "proof_of_work_too_hard", 403)
    assert difficulty in error.message
    assert "000032" in error.message


@pytest.mark.parametrize("difficulty", ["000032", "000033", "061a80", "0fffff"])
def test_the_floor_itself_is_tried(difficulty: str) -> None:
    play = opening().told(needs(proofofwork=EASY | {"difficulty": difficulty}))
    play.asks(SolvePow(Challenge("0.42", difficulty), CONFIG)).told("gAAAAABproof").then_turn()


def test_the_floor_is_a_setting() -> None:
    hard = needs(proofofwork=EASY | {"difficulty": "000010"})
    opening(pow_floor="000010").told(hard).asks(SolvePow(Challenge("0.42", "000010"), CONFIG))
    opening(pow_floor="0fffff").told(hard).then_fails(RefusedError, "proof_of_work_too_hard")


def test_a_proof_nobody_could_solve_is_asked_anew_once() -> None:
    play = opening().sends_requirements().told(needs("req1", proofofwork=EASY)).told(None)
    play.sends_requirements().told(needs("req2", proofofwork=EASY | {"seed": "0.7"}))
    play.asks(SolvePow(Challenge("0.7", "0fffff"), CONFIG))
    turn = play.told("gAAAAABproof").then_turn()
    assert sentinel_headers(turn.request) == {"chat-requirements-token": "req2", "proof-token": "gAAAAABproof"}


def test_a_proof_nobody_could_solve_twice_is_the_end() -> None:
    play = opening().told(needs(proofofwork=EASY)).told(None).told(needs(proofofwork=EASY)).told(None)
    error = play.then_fails(RefusedError, "proof_of_work_not_solved", 403)
    assert error.message == "proof of work not solved"


def test_the_second_challenge_may_ask_for_nothing() -> None:
    turn = opening().told(needs(proofofwork=EASY)).told(None).told(needs("req2")).then_turn()
    assert sentinel_headers(turn.request) == {"chat-requirements-token": "req2"}


def test_two_steps_ask_anew_from_the_first() -> None:
    play = (
        opening(LOGGED_IN, sentinel="two-step").told(prepared(proofofwork=EASY)).told(None).sends_requirements(PREPARE)
    )
    play.told(prepared(proofofwork=EASY)).told(None).then_fails(RefusedError, "proof_of_work_not_solved")


@pytest.mark.parametrize(
    "puzzle", [{"difficulty": "xyz"}, {"difficulty": ""}, {"difficulty": None}, {"difficulty": 5}, {"seed": 5}]
)
def test_a_malformed_challenge(puzzle: dict[str, Any]) -> None:
    play = opening().told(needs(proofofwork=EASY | puzzle))
    play.then_fails(UpstreamError, "upstream_sentinel", 502)


# --- Arkose (3) -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("persona", "method"),
    [("chatgpt-freeaccount", "chat35"), ("chatgpt-paid", "chat4"), ("chatgpt-noauth", "chat4"), (None, "chat4")],
)
def test_arkose(persona: str | None, method: Any) -> None:
    play = opening().told(needs(persona=persona, arkose={"required": True, "dx": "blob"}))
    turn = play.asks(FetchArkose("blob", method)).told("ark1").then_turn()
    assert sentinel_headers(turn.request) == {"chat-requirements-token": "req1", "arkose-token": "ark1"}
    assert b"ark1" not in turn.request.body


def test_arkose_without_a_blob_and_after_the_proof() -> None:
    play = opening().told(needs(proofofwork=EASY, arkose={"required": True, "dx": None}))
    play.told("gAAAAABproof").asks(FetchArkose(None, "chat4"))
    assert set(sentinel_headers(play.told("ark1").then_turn().request)) == {
        "chat-requirements-token",
        "proof-token",
        "arkose-token",
    }


# --- Turnstile and the like (2.7) -------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", ["turnstile", "so"])
def test_a_challenge_is_passed_by_and_upstream_decides(check: str) -> None:
    turn = opening(turnstile="pass").told(needs(**{check: {"required": True, "dx": "x"}})).then_turn()
    assert turn.challenged
    assert sentinel_headers(turn.request) == {"chat-requirements-token": "req1"}
    error = turn.refused(reply(403, {"detail": "Unusual activity"}))
    assert error.http_status == 403
    assert json.loads(envelope(error))["error"] == {
        "message": "The upstream asked for a Turnstile check, which this gateway does not perform",
        "type": "upstream_challenge",
        "param": None,
        "code": "turnstile_required",
    }
    assert turn.refused(reply(429, {"detail": "Too many requests"})).http_status == 429


@pytest.mark.parametrize("check", ["turnstile", "so"])
def test_a_challenge_is_refused_at_once_where_the_operator_says_so(check: str) -> None:
    play = opening(turnstile="refuse").told(needs(proofofwork=EASY, **{check: {"required": True}}))
    error = play.then_fails(RefusedError, "turnstile_required", 403)
    assert error.error_type == "upstream_challenge"


def test_refusing_challenges_refuses_nothing_else() -> None:
    opening(turnstile="refuse").told(needs(turnstile={"required": False})).then_turn()


def test_a_403_without_a_challenge_is_a_refusal() -> None:
    turn = opening().told(needs()).then_turn()
    assert turn.refused(reply(403, {"detail": "Unusual activity"})).code == "upstream_forbidden"


@pytest.mark.parametrize("body", [b"<html>hello</html>", {"wss_url": "wss://x.test"}])
def test_an_answer_that_is_no_event_stream(body: Any) -> None:
    error = opening().told(needs()).then_turn().refused(reply(200, body))
    assert (error.http_status, error.code) == (502, "upstream_content_type")


# --- who may ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("identity", [ANONYMOUS, LOGGED_IN])
def test_force_login_is_obeyed(identity: Identity) -> None:
    """No new device id: that would be a way around a refusal, which the project does not take."""
    error = opening(identity).told(needs(force_login=True)).then_fails(CredentialError, "invalid_api_key", 401)
    assert "access token" in error.message


@pytest.mark.parametrize("persona", ["chatgpt-noauth", "chatgpt-freeaccount"])
def test_gpt_4_is_for_paid_accounts(persona: str) -> None:
    error = opening(slug="gpt-4").told(needs(persona=persona))
    assert error.then_fails(RequestError, "model_not_found", 404).message.startswith("The model `gpt-4` does not")


@pytest.mark.parametrize("persona", ["chatgpt-paid", None])
def test_gpt_4_goes_up_for_paid_accounts_and_unknown_ones(persona: str | None) -> None:
    opening(slug="gpt-4").told(needs(persona=persona)).then_turn()


# --- upstream says no, or nonsense ------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [None, ""])
def test_a_200_without_a_token_is_a_failure(token: str | None) -> None:
    opening().told(needs(token)).then_fails(UpstreamError, "upstream_sentinel", 502)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b"null", b"{", b'{"token": 7}', b'{"token": "\xff"}', b"[" * 9000, b'{"arkose": 1}']
)
@pytest.mark.parametrize("two_step", [False, True])
def test_requirements_nobody_can_read(body: bytes, two_step: bool) -> None:
    opening(sentinel="two-step" if two_step else "one-step").told(reply(200, body)).then_fails(
        UpstreamError, "upstream_sentinel", 502
    )


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (400, {"detail": "Invalid request"}, 400),
        (401, {"detail": "Unauthorized"}, 401),
        (403, {"detail": "Unusual activity has been detected from your device."}, 403),
        (403, b"<html>Just a moment...</html>", 403),
        (404, {"detail": "Not Found"}, 502),
        (413, {"detail": "x"}, 400),
        (422, {"detail": "x"}, 400),
        (429, {"detail": "Too many requests"}, 429),
        (500, {"detail": "Internal server error"}, 502),
        (503, b"<html>busy</html>", 502),
        (524, b"", 502),
    ],
)
@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_refusal_at_any_step(status: int, body: Any, told: int, step: int) -> None:
    """One-step requirements, prepare, finalize: no further command after a refusal."""
    play = opening(LOGGED_IN, sentinel="two-step" if step > 0 else "one-step")
    if step == 2:
        play.told(prepared())
    play.told(reply(status, body))
    assert play._command is None
    assert play._error is not None
    assert play._error.http_status == told


# --- headers (1) ------------------------------------------------------------------------------------------------------


def first_request(identity: Identity) -> HttpRequest:
    command = opening(identity)._command
    assert isinstance(command, Send)
    return command.request


def test_headers_of_an_anonymous_caller() -> None:
    assert first_request(ANONYMOUS).headers == {
        "accept": "application/json",
        "accept-language": "de-DE,de",
        "content-type": "application/json",
        "cookie": f"oai-did={DEVICE}",
        "oai-device-id": DEVICE,
        "oai-language": "de-DE",
        "origin": ORIGIN,
        "referer": f"{ORIGIN}/",
        "user-agent": "Test/1.0",
    }


def test_headers_of_an_account() -> None:
    headers = first_request(LOGGED_IN).headers
    assert headers["authorization"] == f"Bearer {TOKEN}"
    assert "cookie" not in headers
    assert "chatgpt-account-id" not in headers


def test_headers_of_a_team() -> None:
    assert first_request(Identity(DEVICE, TOKEN, ACCOUNT)).headers["chatgpt-account-id"] == ACCOUNT


def test_the_turn_asks_for_an_event_stream() -> None:
    headers = opening().told(needs()).then_turn().request.headers
    assert headers["accept"] == "text/event-stream"
    assert headers["content-type"] == "application/json"


def test_the_user_agent_of_the_header_is_the_one_in_the_proof() -> None:
    assert first_request(ANONYMOUS).headers["user-agent"] == CONFIG[4]


# --- the list of models (7.1) -----------------------------------------------------------------------------------------


def listing(identity: Identity = LOGGED_IN) -> Playbook:
    return Playbook(list_models(Upstream(ORIGIN, identity, PROFILE)))


def test_the_slugs_in_upstreams_order() -> None:
    play = listing()
    assert play._command.request.method == "GET"
    query = "iim=false&is_gizmo=false&supports_model_picker_upgrade_presets=true"
    assert play._command.request.url == f"{ORIGIN}/backend-api/models?{query}"
    assert play._command.request.body == b""
    assert "content-type" not in play._command.request.headers
    play.told(reply(body={"models": [{"slug": "gpt-4o", "tags": ["x"]}, {"slug": "auto"}], "categories": []}))
    assert play._result.slugs == ("gpt-4o", "auto")


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"models": null}', b'{"models": [{}]}', b"[" * 9000, b"\xff"])
def test_a_list_nobody_can_read(body: bytes) -> None:
    listing().told(reply(200, body)).then_fails(UpstreamError, "upstream_models", 502)


def test_a_list_that_is_refused() -> None:
    listing().told(reply(401, {"detail": "Unauthorized"})).then_fails(CredentialError, "invalid_api_key", 401)
