"""What the debug view is made of, without mitmproxy: timelines, pages, lines and curl commands of recorded calls."""

import json
import subprocess
from pathlib import Path

import msgspec
import pytest

from shim.cassettes.curl_commands import curl_command
from shim.cassettes.format import load_cassette
from shim.cassettes.recording import CapturedCall, call_of
from shim.cassettes.timeline import is_conversation_call, timeline_of
from shim.cassettes.transcripts import headline, transcript

CASSETTES = Path(__file__).parents[2] / "cassettes"
CHAT = "http://127.0.0.1:5005/v1/chat/completions"


def calls(name):
    """The conversation calls of a cassette, as they were on the wire."""
    heard = [call_of(one) for one in load_cassette(CASSETTES / f"{name}.json").interactions]
    heard = [msgspec.structs.replace(one, url=f"https://chatgpt.com{one.url}") for one in heard]
    return [one for one in heard if is_conversation_call(one.method, one.url)]


def chat(*lines, status=200, kind="text/event-stream", **request):
    """A call of our own; `lines` are chunks, or the one body."""
    stream = kind == "text/event-stream"
    bodies = [json.dumps(line) if isinstance(line, dict) else line for line in lines]
    chunks = [(0.1 * place, (f"data: {one}\n\n" if stream else one).encode()) for place, one in enumerate(bodies, 1)]
    return CapturedCall("POST", CHAT, [], json.dumps(request).encode(), status, [("Content-Type", kind)], chunks)


def chunk(finish=None, **delta):
    return {"model": "gpt-5", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


@pytest.mark.parametrize(
    ("method", "url", "whether"),
    [
        ("POST", "https://chatgpt.com/backend-api/conversation", True),
        ("POST", "https://chatgpt.com/backend-anon/f/conversation?a=b", True),
        ("POST", "https://chatgpt.com/backend-api/f/conversation/resume", True),
        ("POST", "http://127.0.0.1:5005/hidden/v1/chat/completions", True),
        ("GET", "https://chatgpt.com/backend-api/conversation", False),
        ("POST", "https://chatgpt.com/backend-api/f/conversation/prepare", False),
        ("POST", "https://chatgpt.com/backend-api/conversation/init", False),
    ],
)
def test_turns_are_told_from_other_calls(method, url, whether):
    assert is_conversation_call(method, url) is whether


@pytest.mark.parametrize("name", sorted(path.stem for path in CASSETTES.glob("*.json")))
def test_every_recorded_call_can_be_read_at_any_moment(name):
    heard = calls(name)
    assert heard
    for call in heard:
        whole = timeline_of(call)
        assert whole.outcome not in {"still streaming", "unreadable", "not kept whole"}
        for size in {0, 1, 2, len(call.chunks) // 2, len(call.chunks) - 1}:
            part = msgspec.structs.replace(call, chunks=call.chunks[:size])
            sofar = timeline_of(part, over=False)
            assert whole.said.text.startswith(sofar.said.text)
            assert "outcome " in transcript(part, sofar)
            assert "\n" not in headline(part, sofar)


def test_the_line_has_words_and_numbers_and_no_text():
    (call,) = calls("reasoning-v1")
    timeline = timeline_of(call, waited=2.0)
    assert headline(call, timeline) == "gpt-5-mini  stop  93 characters  first 2.00 s  total 2.00 s  39 chunks"
    odd = msgspec.structs.replace(timeline, slug="dear bob, hello")
    assert headline(call, odd).startswith("?  stop  ")
    for code in ("v1.0123456789abcdef0123456789abcdef0123456789", "dear bob", "Bob"):
        failed = chat({"error": {"message": "No", "code": code}}, model="gpt-5")
        assert headline(failed, timeline_of(failed)) == "gpt-5  failed ?  total 0.10 s  1 chunk"


def test_reasoning_is_not_the_first_thing_said():
    (call,) = calls("reasoning-v1")
    timeline = timeline_of(call)
    assert timeline.first > timeline.events[0][0]
    assert timeline.said.reasoning.startswith("Reading the question")
    assert "\n── reasoning ──\n  Reading the question\n  \n" in transcript(call, timeline)


@pytest.mark.parametrize(
    ("name", "outcomes"),
    [
        ("handoff-v1", {"goes on elsewhere"}),
        ("cut-v1", {"failed upstream_cut"}),
        ("max-tokens-v1", {"length"}),
        ("errors-http", {"failed upstream_forbidden", "failed cf-please-wait", "failed model_cap_exceeded"}),
    ],
)
def test_outcomes_say_how_it_ended(name, outcomes):
    assert outcomes <= {timeline_of(call).outcome for call in calls(name)}


def test_our_own_chunks_are_read_back():
    call = chat(
        chunk(role="assistant", content=""),
        chunk(reasoning_content="Hm."),
        chunk(content="Hello "),
        chunk(content="you"),
        {"choices": [{"index": 1, "delta": {"content": "other"}}]},
        chunk(tool_calls=[{"index": 0, "id": "call_1", "function": {"name": "look", "arguments": '{"a"'}}]),
        chunk(tool_calls=[{"index": 0, "function": {"arguments": ": 1}"}}]),
        chunk("tool_calls"),
        "[DONE]",
        messages=[{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url"}]}],
    )
    timeline = timeline_of(call)
    assert (timeline.said.text, timeline.said.reasoning, timeline.outcome) == ("Hello you", "Hm.", "tool_calls")
    assert timeline.said.calls[0].arguments == '{"a": 1}'
    assert timeline.ignored == {"choice 1": 1}
    assert (timeline.slug, round(timeline.first, 3), round(timeline.pause, 3)) == ("gpt-5", 0.3, 0.1)
    page = transcript(call, timeline)
    assert "  user: Hi\n  [image_url]\n" in page
    assert 'called     look {"a": 1}' in page


@pytest.mark.parametrize(
    ("call", "outcome"),
    [
        (chat(chunk(content="Hel"), {"error": {"message": "It broke", "code": "upstream_cut"}}), "failed upstream_cut"),
        (chat(chunk(content="Hel")), "failed cut"),
        (chat("{", "7", "[]"), "failed cut"),
        (chat({"error": {"message": "No", "code": None}}, status=401, kind="application/json"), "failed error"),
        (chat("<html>", status=502, kind="text/html"), "status 502"),
        (chat({"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}, kind="application/json"), "stop"),
        (chat("nonsense", kind="application/json"), "unreadable"),
    ],
)
def test_other_answers_of_ours_have_an_outcome(call, outcome):
    assert timeline_of(call).outcome == outcome


def test_long_histories_are_shortened_and_odd_ones_are_no_failure():
    many = chat("{}", messages=[{"role": "user", "content": f"turn {n} " + "x" * 900} for n in range(40)])
    page = transcript(many, timeline_of(many))
    assert "… 10 messages before" in page
    assert "turn 9 " not in page
    assert "turn 39 " in page
    assert "… (914 characters)" in page
    odd = chat(
        "{}", messages=[7, {"content": {"parts": [7, {"content_type": "image_asset_pointer"}]}}, {"content": None}]
    )
    assert "  ?: [?]\n  [image_asset_pointer]\n  ?: " in transcript(odd, timeline_of(odd))
    for body in (b"", b"[]", b"\xff", b"[" * 100_000):
        bare = msgspec.structs.replace(many, body=body)
        assert transcript(bare, timeline_of(bare)).startswith("outcome")


# --- curl -------------------------------------------------------------------------------------------------------------

SHELL = 'curl() { for word in "$@"; do printf "%s\\0" "$word"; done; }\n'


def typed(command, **variables):
    """What curl is given when a person types this with these variables set."""
    done = subprocess.run(
        ["sh", "-uc", SHELL + command], capture_output=True, env={"PATH": "/usr/bin:/bin", **variables}, check=True
    )
    return done.stdout.decode().split("\0")[:-1]


def heard_call(asked, **changes):
    body = json.dumps(asked["json"]).encode()
    url = "https://chatgpt.com/backend-api/conversation"
    call = CapturedCall("POST", url, list(asked["headers"].items()), body, 0, [], [])
    return msgspec.structs.replace(call, **changes)


def test_the_curl_command_makes_the_call_again_with_variables_in_place_of_secrets(asked, secrets):
    command = curl_command(heard_call(asked))
    assert not [secret for secret in secrets if secret in command]
    token, email, conversation, message, cookie, proof, _ = secrets
    words = typed(
        command,
        ACCESS_TOKEN=token,
        EMAIL=email,
        CONVERSATION_ID=conversation,
        OAI_DID=message,
        SECURE_NEXT_AUTH_SESSION_TOKEN=cookie,
        OPENAI_SENTINEL_PROOF_TOKEN=proof,
    )
    assert words[:2] == ["-N", "https://chatgpt.com/backend-api/conversation"]
    assert json.loads(words[words.index("--data-raw") + 1]) == asked["json"]
    headers = dict(words[at + 1].split(": ", 1) for at, word in enumerate(words) if word == "-H")
    sent = {name: value for name, value in asked["headers"].items() if name != "x-other"}
    assert headers == sent | {"cookie": sent["cookie"].rpartition(";")[0]}


def test_two_secrets_of_one_name_are_two_variables(asked):
    ids = ["91be2e50-7a5c-495a-9ca3-4eff32d746d0", "11be2e50-7a5c-495a-9ca3-4eff32d746d0"]
    body = json.dumps({"messages": [{"id": ids[0]}, {"id": ids[1]}], "parent_message_id": ids[0]}).encode()
    words = typed(curl_command(heard_call(asked, headers=[], body=body)), ID=ids[0], ID_2=ids[1])
    assert json.loads(words[-1]) == json.loads(body)


def test_what_curl_has_to_be_told_beside(asked):
    address = "https://user:secret@chatgpt.com/backend-api/conversations?offset=0&other=person"
    command = curl_command(heard_call(asked, method="PATCH", url=address, headers=[("Accept-Encoding", "gzip")]))
    assert "-X PATCH" in command
    assert "--compressed" in command
    assert "secret" not in command
    assert "person" not in command
    assert '--data-raw "$BODY"' in curl_command(heard_call(asked, body=None))
    assert "--data-raw ''" in curl_command(heard_call(asked, body=b""))
    assert "--data" not in curl_command(heard_call(asked, method="GET", body=b""))
