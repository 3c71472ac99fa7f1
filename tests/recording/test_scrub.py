"""Scrubbing: secrets planted in every place of a flow are gone, and what belongs together still does."""

import base64
import json
import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shim.cassettes.format import Cassette, dump_cassette
from shim.cassettes.pseudonyms import PSEUDONYM
from shim.cassettes.recording import cassette_of, scrubbed_again
from shim.cassettes.redact import same_shape
from shim.cassettes.scrub import Scrubber
from tests import upstream_says
from tests.upstream_says import delta

DEVICE = "3f2c9a44-1b7d-4c0e-9a55-d2f0c1e8b7a6"
ACCOUNT = "91be2e50-7a5c-495a-9ca3-4eff32d746d0"
USER = "user-Qm9iSm9uZXMxMjM0NTY3"
EMAIL = "bob.jones+chat@mail.example.org"
PROOF = "gAAAAABWzMwMDAsIk1vbiBKYW4gMDEgMjAyNCAwMDow"
REFRESH = "v1.0123456789abcdef0123456789abcdef0123456789ab"
SIGNATURE = "c2lnbmF0dXJlLW9mLWEtbGluaw9x"
COOKIE = "cookie-crumbs-of-bob"
NAME = "Bob Q. Jones"
OPAQUE = "Zx9Kq2Lm8Np4Rt6Vw0Yb3Cd5"


def b64(text, *, urlsafe=False):
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    return encode(text.encode()).decode()


def jwt(**claims):
    parts = [json.dumps({"alg": "RS256", "kid": "key-of-bob"}), json.dumps(claims)]
    return ".".join([*(b64(part, urlsafe=True).rstrip("=") for part in parts), SIGNATURE])


TOKEN = jwt(
    sub=USER,
    exp=1900000000,
    **{
        "https://api.openai.com/auth": {"chatgpt_account_id": ACCOUNT},
        "https://api.openai.com/profile": {"email": EMAIL},
    },
)
SECRETS = (DEVICE, ACCOUNT, USER, EMAIL, PROOF, REFRESH, SIGNATURE, COOKIE, NAME, OPAQUE, TOKEN, "key-of-bob", "bob")
LINK = f"https://files.oaiusercontent.com/file-AbC123dEf456?se=2026&sig={SIGNATURE}&user={USER}"


def readable(text):
    """The text, and what is in base64 in it: nothing may hide there."""
    texts = [text]
    for run in re.findall(r"[A-Za-z0-9+/_-]{16,}", text):
        for start in range(4):
            plain = run[start:].replace("-", "+").replace("_", "/")
            texts.append(base64.b64decode(plain[: len(plain) // 4 * 4]).decode(errors="ignore"))
    return "\n".join(texts)


def leaks(cassette: Cassette):
    chunks = [b"".join(chunk.content() for chunk in one.response.chunks).decode() for one in cassette.interactions]
    everything = readable(dump_cassette(cassette).decode() + "\n".join(chunks)).lower()
    return [secret for secret in SECRETS if secret.lower() in everything]


def snapshot(text):
    return upstream_says.snapshot(text, conversation=ACCOUNT, id=DEVICE)


TEXT = f"Write to {EMAIL}, see {LINK} or {b64(TOKEN)}; id {DEVICE}, key {OPAQUE}"
BODIES = {
    "json at any depth": json.dumps({"a": [{"b": {"c": [TOKEN, {"email": EMAIL, "name": NAME}]}}], "id": USER}),
    "an id as a key": json.dumps({"accounts": {ACCOUNT: {"account_id": ACCOUNT, "name": NAME}}, EMAIL: 1}),
    "json in a string": json.dumps({"text": json.dumps({"deep": json.dumps({"token": TOKEN, "who": EMAIL})})}),
    "json in base64": json.dumps({"body": b64(json.dumps({"user": {"name": NAME}, "access_token": TOKEN}))}),
    "a token in base64": json.dumps({"text": f"see {b64(TOKEN)} there"}),
    "a stream in a string": json.dumps({"encoded_item": f'event: delta\ndata: {{"v": {{"email": "{EMAIL}"}}}}\n\n'}),
    "a link in a text": json.dumps({"parts": [f"[a]({LINK}) <{LINK}>"]}),
    "escaped": json.dumps({"text": EMAIL}).replace("@", "\\u0040").replace("b", "\\u0062"),
    "proofs": json.dumps({"p": PROOF, "proofofwork": PROOF, "prepare_token": "gAAAAAB.req1" + OPAQUE, "detail": PROOF}),
    "refresh": json.dumps({"refresh_token": REFRESH, "text": f"or {REFRESH}"}),
    "cut off": json.dumps({"text": TEXT, "session": {"cookie": COOKIE, "again": COOKIE}})[:-12],
    "not even json": f"{{name: {NAME}, token: {TOKEN}}}",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("redact", [False, True])
def test_planted_in_a_body_it_is_gone(heard, body, redact):
    call = heard("/backend-api/me", body.encode(), body.encode(), kind="application/json")
    assert leaks(cassette_of([call], redact=redact)) == []


def test_planted_in_the_head_it_is_gone(heard):
    call = heard(
        f"/backend-api/conversation/{ACCOUNT}/attachment/{OPAQUE}/download?account={USER}&sig={SIGNATURE}&limit=3",
        headers=(
            ("Authorization", f"Bearer {TOKEN}"),
            ("Cookie", f"__Secure-next-auth.session-token={COOKIE}; unknown={NAME}; oai-did={DEVICE}"),
            ("oai-device-id", DEVICE),
            ("chatgpt-account-id", ACCOUNT),
            ("openai-sentinel-proof-token", PROOF),
            ("openai-sentinel-chat-requirements-token", OPAQUE),
            ("x-unknown", NAME),
            ("referer", f"https://chatgpt.com/c/{ACCOUNT}?user={USER}"),
        ),
        answer_headers=(
            ("set-cookie", f"__Secure-next-auth.session-token={COOKIE}; Path=/; HttpOnly; Domain=bob.example"),
            ("set-cookie", f"tracking={USER}; Path=/"),
            ("location", LINK),
            ("cf-ray", OPAQUE),
        ),
    )
    cassette = cassette_of([call])
    assert leaks(cassette) == []
    request, response = cassette.interactions[0].request, cassette.interactions[0].response
    assert {"x-unknown", "cf-ray"}.isdisjoint({*request.headers, *response.headers})
    assert request.query.endswith("&limit=3")
    assert response.headers["set-cookie"].endswith("; Path=/; HttpOnly")


@pytest.mark.parametrize(
    "key",
    [
        "sk-proj-4fJx_Qd0-bob",
        "sk-0123456789abcdef0123",
        "sk-live-NotARealOneBob",
        "gsk_4fJxQd0aBob4fJx",
        "github_pat_11AB_4fJxQd0a_bob",
    ],
)
def test_keys_of_apis_in_a_text_are_gone(heard, key):
    body = json.dumps({"parts": [f"my key is {key}, use it"]})
    cassette = cassette_of([heard("/backend-api/me", body.encode(), body.encode(), kind="application/json")])
    text = dump_cassette(cassette).decode()
    assert key not in text
    assert "my key is " in text


def test_words_that_begin_like_keys_stay(heard):
    body = json.dumps({"parts": ["a sk-learn-like-library-name"]})
    cassette = cassette_of([heard("/backend-api/me", body.encode())])
    assert "sk-learn-like-library-name" in dump_cassette(cassette).decode()


def test_the_code_of_a_log_in_is_gone_and_the_code_of_an_error_stays(heard):
    asked = json.dumps({"grant_type": "authorization_code", "code": "short-and-plain"}).encode()
    answered = json.dumps({"detail": {"code": "model_cap"}, "error": {"code": "invalid_grant"}}).encode()
    challenge = ("www-authenticate", 'Bearer realm="bob", error_description="of Bob"')
    call = heard("/oauth/token", asked, answered, kind="application/json", answer_headers=(challenge,))
    text = dump_cassette(cassette_of([call])).decode()
    assert "short-and-plain" not in text
    assert "of Bob" not in text
    assert "model_cap" in text
    assert "invalid_grant" in text


STREAMS = {
    "snapshots that grow": [snapshot(TEXT[:end]) for end in range(0, len(TEXT) + 1, 7)] + [snapshot(TEXT)],
    "deltas of one letter": [
        delta(p="", o="add", v={"message": {"id": DEVICE, "content": {"parts": [""]}}}, c=0),
        delta(p="/message/content/parts/0", o="append", v=TEXT[:1]),
        *(delta(v=letter) for letter in TEXT[1:]),
    ],
    "deltas in batches": [
        delta(p="", o="patch", v=[{"p": "/message/content/parts/0", "o": "append", "v": TEXT[at : at + 5]}])
        for at in range(0, len(TEXT), 5)
    ],
    "an alt that grows": [
        delta(p="", o="add", v={"message": {"metadata": {"content_references": [{"alt": ""}]}}}),
        *(
            delta(p="/message/metadata/content_references/0/alt", o="append", v=TEXT[at : at + 9])
            for at in range(0, len(TEXT), 9)
        ),
    ],
    "a name nobody knows": [
        delta(p="/message/metadata/brand_new", o="add", v=NAME[:3]),
        *(delta(p="/message/metadata/brand_new", o="append", v=letter) for letter in NAME[3:]),
    ],
    "typed events": [
        b"data: %s\n\n" % json.dumps({"type": "resume_conversation_token", "token": TOKEN, "user": NAME}).encode(),
        f": comment about {NAME}\nid: {OPAQUE}\nevent: {NAME}\n\ndata: {NAME}\n\n".encode(),
    ],
}  # fmt: skip


@pytest.mark.parametrize("size", [1, 3, 50, 100000])
@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_planted_in_a_stream_it_is_gone_whatever_the_chunks(heard, stream, size):
    body = b"".join(stream)
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    cassette = cassette_of([heard("/backend-api/conversation", b"", *chunks)])
    assert leaks(cassette) == []
    assert spoken(cassette) == spoken(cassette_of([heard("/backend-api/conversation", b"", body)]))


def spoken(cassette):
    return cassette.interactions[0].response.body()


def test_a_growing_text_grows_the_same_way_after_scrubbing(heard):
    cassette = cassette_of([heard("/x", b"", *STREAMS["snapshots that grow"])])
    events = [json.loads(line[6:]) for line in spoken(cassette).decode().splitlines() if line]
    texts = [event["message"]["content"]["parts"][0] for event in events]
    assert all(after.startswith(before) for before, after in pairwise(texts))
    deltas = spoken(cassette_of([heard("/x", b"", *STREAMS["deltas of one letter"])])).decode().splitlines()
    told = [json.loads(line[6:])["v"] for line in deltas if line.startswith("data")]
    assert "".join(one for one in told if isinstance(one, str)) == texts[-1]


def test_the_same_id_is_the_same_pseudonym_everywhere(heard):
    nested = {"text": json.dumps({"account_id": ACCOUNT}), "body": b64(json.dumps({"user": USER, "id": ACCOUNT}))}
    body = json.dumps({"account_id": ACCOUNT, "id": USER, "link": LINK, "token": TOKEN, **nested})
    stream = snapshot(f"about {ACCOUNT} and {USER}")
    call = heard(
        f"/backend-api/conversation/{ACCOUNT}?u={USER}",
        body.encode(),
        stream[:40],
        stream[40:],
        headers=(("chatgpt-account-id", ACCOUNT),),
    )
    (one,) = cassette_of([call]).interactions
    account, user = one.request.body["account_id"], one.request.body["id"]
    assert PSEUDONYM.fullmatch(account)
    assert PSEUDONYM.fullmatch(user)
    claims = json.loads(base64.urlsafe_b64decode(one.request.body["token"].split(".")[1] + "=="))
    assert claims["https://api.openai.com/auth"]["chatgpt_account_id"] == account
    assert claims["exp"] == 1900000000
    assert json.loads(one.request.body["text"])["account_id"] == account
    assert json.loads(base64.b64decode(one.request.body["body"])) == {"user": user, "id": account}
    assert (one.request.path, one.request.query) == (f"/backend-api/conversation/{account}", f"u={user}")
    assert f"user={user}" in one.request.body["link"]
    assert f"about {account} and {user}" in spoken(Cassette([one])).decode()
    assert one.request.headers["chatgpt-account-id"] == account


def test_what_is_no_secret_stays_byte_for_byte(heard):
    kept = (
        b'data: {"type":  "message_marker", "marker": "last_token"}   \r\n\r\n'
        b": ping - 2025-03-06 19:22:41.128196+00:00\n\n"
        + delta(p="/message/content/parts/0", o="append", v="Hell\u00f6 \U0001f600 user-interface 3.14 gpt-4o-mini")
        + 'event: delta\ndata: {"v": "raw ö 😀 \\/ \\ud83d\\ude00"}\n\n'.encode()
        + b'data: \n\ndata: "v1"\n\ndata: [DONE]\n\n'
    )  # fmt: skip
    assert spoken(cassette_of([heard("/x", b"", kept)])) == kept


@pytest.mark.parametrize(
    "kind", ["application/octet-stream", "image/png", "text/html; charset=utf-8", "multipart/form-data"]
)
def test_bodies_of_kinds_that_are_not_recorded_say_so(heard, kind):
    call = heard("/backend-api/files", b"", f"<p>{NAME}".encode() + b"\xff", kind=kind)
    (one,) = cassette_of([call]).interactions
    assert (one.response.kept, one.response.chunks) == ("none", [])


def test_an_error_page_is_kept_without_tokens(heard):
    page = f"<title>Just a moment...</title> cf-please-wait {OPAQUE} 203.0.113.77 {TOKEN}"
    (one,) = cassette_of([heard("/x", b"", page.encode(), status=403, kind="text/html")]).interactions
    assert b"Just a moment... cf-please-wait" not in one.response.body()
    assert b"Just a moment..." in one.response.body()
    assert b"cf-please-wait" in one.response.body()
    assert not {OPAQUE, "203.0.113.77", TOKEN} & set(one.response.body().decode().split())


MARKED = (
    'Say **Hi**, `x = 1`:\n\n- one \ue200cite\ue202turn0search12\ue201\n```python\nprint("é 你好 \U00020bb7")\n```\n'
)


def test_redacted_text_has_the_same_shape():
    redacted = same_shape(MARKED)
    assert len(redacted) == len(MARKED)
    assert len(redacted.encode()) == len(MARKED.encode())
    assert re.sub(r"\w", "", redacted) == re.sub(r"\w", "", MARKED)


def test_redaction_keeps_structure_and_markers_and_takes_the_words(heard):
    call = heard(
        "/x", json.dumps({"messages": [{"content": {"parts": [MARKED]}}], "model": "gpt-4o"}).encode(), snapshot(MARKED)
    )
    (one,) = cassette_of([call], redact=True).interactions
    text = one.request.body["messages"][0]["content"]["parts"][0]
    assert len(text) == len(MARKED)
    assert "\ue200cite\ue202turn0search12\ue201" in text
    assert "```" in text
    assert not re.search(r"Say|Hi|one|print|你好", text)
    assert one.request.body["model"] == "gpt-4o"
    assert json.loads(one.response.body()[6:])["message"]["content"]["parts"] == [text]


WORDS = st.sampled_from(
    ["hello ", EMAIL, DEVICE, TOKEN, LINK, " ", '"', "\\", "{", "}", "[1]", "\n", "data: ", "€", "\U0001f600", OPAQUE,
     PROOF, b64(TOKEN), "http", "://", "@", "eyJ", ".", "-", "user-", "value-", "token-1", "person-1@example.invalid",
     "127.0.0.1", "\ue200cite\ue202turn0search0\ue201", "0" * 18, "12345678901234"]
)  # fmt: skip
# Secrets glued together may be taken for one another, so there is something between them.
BETWEEN = st.sampled_from([" ", "\n", ", ", '"', "(", ": ", "\u2028"])
TEXTS = st.tuples(BETWEEN, st.lists(WORDS | st.text(max_size=4), max_size=6)).map(lambda made: made[0].join(made[1]))
VALUES = st.recursive(
    TEXTS | st.integers() | st.none(),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(
            st.sampled_from(["text", "id", "v", "p", "o", "c", "status", "x"]) | TEXTS, inside, max_size=4
        )
    ),
    max_leaves=8,
)
EVENTS = st.one_of(
    VALUES.map(lambda value: f"data: {json.dumps(value)}\n\n"),
    TEXTS.map(
        lambda text: (
            f"event: delta\ndata: {json.dumps({'p': '/message/content/parts/0', 'o': 'append', 'v': text})}\n\n"
        )
    ),
    TEXTS.map(lambda text: f"event: delta\ndata: {json.dumps({'v': text}, ensure_ascii=False)}  \r\n\r\n"),
    TEXTS.map(lambda text: f"{text}\n"),
)
BODY = st.one_of(st.lists(EVENTS, max_size=5).map("".join), VALUES.map(json.dumps), TEXTS).map(
    lambda text: text.encode(errors="replace")
)
KINDS = st.sampled_from(["text/event-stream", "application/json", "text/plain"])


@settings(max_examples=300, deadline=None)
@given(BODY, KINDS, st.booleans())
def test_scrubbing_twice_is_scrubbing_once(body, kind, redact):
    (once,) = Scrubber(redact=redact).chunks([body], kind)
    again = Scrubber(redact=redact)
    again.names.reserve(once.decode(errors="replace"))
    assert again.chunks([once], kind) == [once]


@settings(max_examples=200, deadline=None)
@given(BODY, KINDS, st.booleans(), st.data())
def test_scrubbing_does_not_depend_on_the_chunks(body, kind, redact, data):
    marks = sorted(data.draw(st.sets(st.integers(0, len(body)), max_size=8)) | {0, len(body)})
    chunks = [body[start:end] for start, end in pairwise(marks)]
    scrubbed = Scrubber(redact=redact).chunks(chunks, kind)
    assert len(scrubbed) == len(chunks)
    assert b"".join(scrubbed) == b"".join(Scrubber(redact=redact).chunks([body], kind))


def test_a_cassette_scrubbed_again_is_the_same(heard):
    calls = [
        heard("/backend-api/me?user=x", body.encode(), body.encode(), kind="application/json")
        for body in BODIES.values()
    ]
    calls += [heard("/backend-api/conversation", b"", *stream) for stream in STREAMS.values()]
    cassette = cassette_of(calls)
    assert scrubbed_again(cassette) == cassette
