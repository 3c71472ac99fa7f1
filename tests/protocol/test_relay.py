"""What is relayed, with which headers, and names of conversations and files on their way up and down."""

import json

import pytest

from shim.apis.backend.table import (
    TABLE,
    UP,
    BackendRequest,
    Kind,
    Relayed,
    broken_off,
    detail_of,
    down,
    has_names,
    read,
    row_for,
    sentinel_answer,
)
from shim.errors import CredentialError, LimitError, RequestError
from shim.protocol.answer.machine import Answer
from shim.protocol.events import Failed
from shim.protocol.owners import Namer, named, taken_apart
from shim.protocol.refusals import refusal_of

A, B = "0123456789abcdef", "fedcba9876543210"
CONVERSATION = "3c1c6f5a-7c3f-4f0e-8b59-6c1f2b0c9d22"
FILLED = {"conversation": CONVERSATION, "file": "file-AbC", "gizmo": "g-abc", "version": "v4-2023-04-27"}
JSON = {"content-type": "application/json"}


def relayed(
    method: str, path: str, body: object = None, query: str = "", shared: bool = True, **headers: str
) -> Relayed:
    row = row_for(method, path)
    assert row is not None
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    content = b"" if body is None else json.dumps(body).encode()
    return read(BackendRequest(row, path, query, JSON | given, content), shared=shared)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.method} {row.path}")
def test_every_row_is_found_by_its_own_path_and_by_no_other_method(row):
    path = row.path.format(**FILLED)
    assert row_for(row.method, path) is row
    for method in {"GET", "POST", "PATCH", "PUT", "DELETE", "HEAD", "OPTIONS"} - {row.method}:
        other = row_for(method, path)
        assert other is None or (other.method, other.path) == (method, other.path) != (row.method, row.path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PATCH", "conversations"),
        ("DELETE", f"conversation/{CONVERSATION}"),
        ("PATCH", "conversation/init"),
        ("GET", "accounts/check"),
        ("POST", "accounts/logout_all"),
        ("POST", "accounts/deactivate"),
        ("POST", "payments/checkout"),
        ("GET", "settings/user"),
        ("PATCH", "settings/user"),
        ("GET", "user_system_messages"),
        ("POST", "user_system_messages"),
        ("GET", "memories"),
        ("POST", "share/create"),
        ("GET", "celsius/ws/user"),
        ("POST", "register-websocket"),
        ("POST", "gizmos"),
        ("DELETE", "files/file-AbC"),
        ("GET", "files/library"),
        ("GET", "files/file-AbC/../me"),
        ("GET", "files/file-AbC%2fdownload"),
        ("GET", "conversation/a/b"),
        ("GET", "me/"),
        ("get", "me"),
        ("GET", ""),
        ("GET", "conversation/" + "a" * 101),
        ("GET", f"conversation/{CONVERSATION}\n"),
    ],
)
def test_what_is_not_in_the_table_is_unknown(method, path):
    assert row_for(method, path) is None


def test_a_client_can_not_choose_what_identifies_us_upstream():
    kept = relayed(
        "GET",
        "models",
        authorization="Bearer x",
        cookie="a=b",
        oai_device_id="d",
        chatgpt_account_id="t",
        user_agent="me",
        openai_sentinel_chat_requirements_token="t",
        openai_sentinel_proof_token="p",
        x_forwarded_for="1.2.3.4",
        origin="https://elsewhere.test",
        accept="*/*",
    ).headers
    assert kept == {"accept": "*/*", "content-type": "application/json"}
    assert not {"authorization", "cookie", "oai-device-id", "chatgpt-account-id", "user-agent"} & UP


def test_nothing_about_who_was_asked_comes_down():
    given = {
        "content-type": "application/json",
        "set-cookie": "session=1",
        "cf-ray": "1",
        "openai-organization": "o",
        "x-request-id": "1",
        "content-encoding": "gzip",
        "retry-after": "3",
    }
    got = down(given)
    assert {name: got[name] for name in ("content-type", "retry-after")} == {
        "content-type": "application/json",
        "retry-after": "3",
    }
    assert got.keys() - {"content-type", "retry-after"} == {
        "cache-control",
        "content-security-policy",
        "x-content-type-options",
    }


# --- names --------------------------------------------------------------------------------------------------------


def test_a_name_says_whose_it_is_and_nests():
    assert taken_apart(named(CONVERSATION, A)) == (CONVERSATION, A)
    assert taken_apart(named(named(CONVERSATION, A), B)) == (f"{CONVERSATION}.{A}", B)
    assert taken_apart(named(CONVERSATION, None)) == (CONVERSATION, None)
    for other in ("", "x", "a.b", f".{A}", f"{CONVERSATION}.{A}0", "eyJ.eyJ.sig"):
        assert taken_apart(other) == (other, None)


def test_names_are_taken_apart_wherever_they_stand():
    turn = {
        "conversation_id": f"{CONVERSATION}.{A}",
        "messages": [
            {
                "id": f"file-like.{A}x",
                "content": {"parts": [{"asset_pointer": f"sediment://file_0.{A}"}, f"say file-AbC.{A}"]},
                "metadata": {"attachments": [{"id": f"file-AbC.{A}", "name": f"file-x.{A}"}]},
            }
        ],
    }
    up = relayed("POST", "f/conversation", turn, x_conduit_token=f"eyJ.e.s.{A}")
    sent = json.loads(up.body)
    assert up.owner == A
    assert up.headers["x-conduit-token"] == "eyJ.e.s"
    assert sent["conversation_id"] == CONVERSATION
    (message,) = sent["messages"]
    assert message["content"]["parts"] == [{"asset_pointer": "sediment://file_0"}, f"say file-AbC.{A}"]
    assert message["metadata"]["attachments"] == [{"id": "file-AbC", "name": f"file-x.{A}"}]
    assert message["id"] == f"file-like.{A}x"


def test_names_in_paths_and_queries():
    up = relayed("GET", f"conversation/{CONVERSATION}.{A}/attachment/file-AbC.{A}/download")
    assert (up.path, up.owner) == (f"conversation/{CONVERSATION}/attachment/file-AbC/download", A)
    up = relayed("GET", f"conversation/{CONVERSATION}.{B}.{A}")
    assert (up.path, up.owner) == (f"conversation/{CONVERSATION}.{B}", A)
    up = relayed("GET", "estuary/content", query=f"id=file-AbC.{A}&sig=a%20b&x=")
    assert (up.path, up.owner) == ("estuary/content?id=file-AbC&sig=a+b&x=", A)
    up = relayed("GET", "synthesize", query=f"conversation_id={CONVERSATION}.{A}&message_id=m.{A}")
    assert (up.path, up.owner) == (f"synthesize?conversation_id={CONVERSATION}&message_id=m.{A}", A)


def test_where_the_pool_does_not_serve_names_are_upstreams_own():
    up = relayed("GET", f"conversation/{CONVERSATION}.{A}", shared=False)
    assert (up.path, up.owner) == (f"conversation/{CONVERSATION}.{A}", None)
    body = {"conversation_id": f"{CONVERSATION}.{A}", "model": "auto"}
    assert json.loads(relayed("POST", "conversation", body, shared=False).body) == body


def test_a_body_without_names_goes_up_byte_for_byte():
    row = row_for("POST", "conversation")
    body = b'{ "model":  "gpt-4o", "create_time": 1780661199.3860 }'
    up = read(BackendRequest(row, "conversation", "", JSON, body), shared=True)
    assert (up.body, up.model, up.body_for("gpt-4o")) == (body, "gpt-4o", body)
    assert json.loads(up.body_for("gpt-5"))["model"] == "gpt-5"


def test_things_of_two_accounts_can_not_go_up_together():
    with pytest.raises(RequestError) as raised:
        relayed("POST", "conversation", {"conversation_id": f"c.{A}", "messages": [{"file_id": f"file-x.{B}"}]})
    assert raised.value.http_status == 400


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'"x"', b"\xff", b"[" * 100_000, b'{"model": 5}'])
def test_a_turn_that_is_no_object_is_refused(body):
    with pytest.raises(RequestError) as raised:
        read(BackendRequest(row_for("POST", "conversation"), "conversation", "", JSON, body), shared=True)
    assert raised.value.http_status == 422


@pytest.mark.parametrize(
    ("change", "good"), [("title", True), ("is_visible", True), ("share", False), ("gizmo_id", False)]
)
def test_of_a_conversation_only_what_is_listed_can_be_changed(change, good):
    path = f"conversation/{CONVERSATION}.{A}"
    if good:
        assert json.loads(relayed("PATCH", path, {change: "x"}).body) == {change: "x"}
        return
    with pytest.raises(RequestError) as raised:
        relayed("PATCH", path, {"title": "x", change: "x"})
    assert raised.value.http_status == 422


def test_what_is_not_json_goes_up_as_it_is():
    form = {"content-type": "multipart/form-data; boundary=x"}
    up = read(BackendRequest(row_for("POST", "transcribe"), "transcribe", "", form, b"\x00\xff"), shared=True)
    assert up.body == b"\x00\xff"


def namer(account: "str | None" = A, *, lists: bool = False) -> Namer:
    return Namer(account, origin="https://up.test", public="http://us.test/hidden", lists=lists)


ANSWER = (
    b'event: delta\ndata: {"p":"","o":"add","v":{"message":{"id":"%(c)s"},"conversation_id":"%(c)s"}}\n\n'
    b'data: {"p":"/message/content/parts/0/asset_pointer","v":"sediment://file_00"}\n\n'
    b'data: {"v":"say \\"conversation_id\\": \\"%(c)s\\" and file-based"}\n\n'
    b'data: {"v":"file-based"}\n\n'
    b'data: {"status":"success","file_id": "file-AbC","id":"file-AbC","conduit_token":"eyJ.e.s"}\n\n'
    b'data: {"download_url":"https://up.test/backend-api/estuary/content?id=file-AbC&sig=s"}\n\n'
    b'data: {"download_url":"https://files.test/file-AbC?sig=s"}\n\ndata: [DONE]\n\n'
) % {b"c": CONVERSATION.encode()}
OURS = f".{A}".encode()
ID = CONVERSATION.encode()
NAMED = (
    ANSWER.replace(b'"conversation_id":"%s"' % ID, b'"conversation_id":"%s"' % (ID + OURS))
    .replace(b'sediment://file_00"', b'sediment://file_00%s"' % OURS)
    .replace(b'"file-AbC"', b'"file-AbC%s"' % OURS)
    .replace(b'eyJ.e.s"', b'eyJ.e.s%s"' % OURS)
    .replace(b"https://up.test/backend-api", b"http://us.test/hidden/backend-api")
    .replace(b"content?id=file-AbC", b"content?id=file-AbC%s" % OURS)
)


@pytest.mark.parametrize("size", [1, 2, 7, 64, 10_000])
def test_names_are_given_however_the_bytes_arrive(size):
    one = namer()
    pieces = [ANSWER[at : at + size] for at in range(0, len(ANSWER), size)]
    assert b"".join([*(one.receive(piece) for piece in pieces), one.receive(b"")]) == NAMED


@pytest.mark.parametrize("size", [1, 100, 5000])
def test_long_content_in_one_line_is_not_held(size):
    one = namer()
    content = b'{"text":"' + b"x" * 20_000 + b'","conversation_id": "%s"}' % CONVERSATION.encode()
    most, out = 0, b""
    for at in range(0, len(content), size):
        out += one.receive(content[at : at + size])
        most = max(most, at + size - len(out))
    out += one.receive(b"")
    assert most <= 4096 + size + 100
    assert out == content[:-2] + b'.%s"}' % A.encode()


def test_a_whole_line_goes_on_at_once():
    one = namer()
    assert one.receive(b'data: {"v":"x"}\n\ndata: {"v"') == b'data: {"v":"x"}\n\n'


def test_without_an_account_only_addresses_change():
    one = namer(None)
    got = one.receive(ANSWER) + one.receive(b"")
    moved = b"http://us.test/hidden/backend-api/estuary/content?id=file-AbC&"
    assert got == ANSWER.replace(b"https://up.test/backend-api/estuary/content?id=file-AbC&", moved)


def test_in_a_list_of_conversations_their_ids_are_names():
    body = b'{"items":[{"id": "%s","title":"t"}],"total":1}' % CONVERSATION.encode()
    for lists in (True, False):
        one = namer(lists=lists)
        got = one.receive(body) + one.receive(b"")
        assert (got == body.replace(b'","title', b'.%s","title' % A.encode())) is lists


def test_names_are_looked_for_only_where_they_can_be():
    models, content = row_for("GET", "models"), row_for("GET", "estuary/content")
    assert has_names(models, {"content-type": "application/json; charset=utf-8"})
    assert not has_names(models, {"content-type": "text/html"})
    assert not has_names(content, {"content-type": "application/json"})
    assert content.kind is Kind.BYTES


# --- answers of our own ---------------------------------------------------------------------------------------------


def test_sentinel_asks_for_nothing():
    asked = json.loads(sentinel_answer("sentinel/chat-requirements", "t", 1000.9))
    assert asked["token"] == "t"
    assert asked["expire_at"] == 1540
    assert [asked[check]["required"] for check in ("arkose", "turnstile", "proofofwork")] == [False] * 3
    assert json.loads(sentinel_answer("sentinel/chat-requirements/prepare", "t", 0))["prepare_token"] == "t"
    assert json.loads(sentinel_answer("sentinel/ping", "t", 0)) == {"status": "ok"}


@pytest.mark.parametrize(
    "error",
    [
        LimitError("Wait", code="model_cap_exceeded", retry_after=12.4),
        CredentialError("No", code="invalid_api_key"),
        RequestError("Not here", status=404, code="conversation_not_found"),
    ],
)
def test_a_front_gateway_reads_our_errors_as_upstreams(error):
    again = refusal_of(error.http_status, JSON, detail_of(error))
    assert type(again) is type(error)
    assert again.http_status == error.http_status
    assert again.code == error.code
    assert again.retry_after == (12.0 if isinstance(error, LimitError) else None)


@pytest.mark.parametrize("before", [b"", b'event: delta\ndata: {"p":"/mess', b"event: delta\n"])
def test_a_front_gateway_understands_a_stream_that_is_broken_off(before):
    answer = Answer()
    events = answer.receive(before + broken_off(LimitError("Too many requests", retry_after=5)))
    assert isinstance(events[-1], Failed)
