"""Which recording answers a call, and what a miss says."""

import json

from shim.cassettes.format import Cassette, Interaction, RecordedRequest, RecordedResponse
from shim.cassettes.matching import Miss, Player
from shim.cassettes.recording import cassette_of

ONE, OTHER = "91be2e50-7a5c-495a-9ca3-4eff32d746d0", "3f2c9a44-1b7d-4c0e-9a55-d2f0c1e8b7a6"


def turn(text, id=ONE, **more):
    message = {"id": id, "create_time": 1.5, "content": {"content_type": "text", "parts": [text]}}
    return json.dumps({"messages": [message], "model": "auto", "parent_message_id": id, **more}).encode()


def ask(player, body, path="/backend-api/conversation"):
    return player.play("POST", path, [("content-type", "application/json")], body)


def test_ids_times_and_proofs_make_no_difference(heard):
    path = "/backend-api/conversation/{}"
    player = Player(
        [cassette_of([heard(path.format(ONE), turn("Hi", ONE, p="gAAAAACone", x="bob-1"), b"data: 1\n\n")])]
    )
    found = ask(player, turn("Hi", OTHER, p="gAAAAACother", x="eve-2"), path.format(OTHER))
    assert isinstance(found, Interaction)
    assert player.left == []


def test_texts_do_and_equals_come_in_order(heard):
    bodies = [("a", b"data: 1\n\n"), ("b", b"data: 2\n\n"), ("a", b"data: 3\n\n")]
    player = Player([cassette_of([heard("/backend-api/conversation", turn(text), answer) for text, answer in bodies])])
    answers = [ask(player, turn(text)).response.body() for text in "baa"]
    assert answers == [b"data: 2\n\n", b"data: 1\n\n", b"data: 3\n\n"]
    assert isinstance(ask(player, turn("a")), Miss)
    player.rewind()
    assert (player.played, len(player.left), player.misses) == (0, 3, [])


def test_a_redacted_recording_is_found_by_the_shape_of_the_text(heard):
    player = Player(
        [cassette_of([heard("/backend-api/conversation", turn("Hello, mr 7!"), b"data: 1\n\n")], redact=True)]
    )
    assert isinstance(ask(player, turn("Short")), Miss)
    assert isinstance(ask(player, turn("Holla, dr 9!")), Interaction)


def test_a_miss_names_the_nearest_and_the_field(heard):
    calls = [heard("/backend-api/models", b"", method="GET"), heard("/backend-api/conversation", turn("Hello"))]
    miss = ask(Player([cassette_of(calls)]), turn("Goodbye"))
    assert str(miss) == (
        "Nothing recorded for POST /backend-api/conversation; nearest of 2 left is POST /backend-api/conversation: "
        'body.messages[0].content.parts[0] is "Goodbye", recorded is "Hello"'
    )
    miss = ask(Player([cassette_of(calls)]), b"", "/backend-api/me")
    assert "path is /backend-api/me, recorded is /backend-api/conversation" in str(miss)
    absent = ask(Player([cassette_of(calls)]), turn("Hello", reset_rate_limits=True))
    assert "body.reset_rate_limits is true, recorded is nothing" in str(absent)
    assert str(ask(Player([]), b"")).endswith("nothing is left to play")


def test_a_miss_quotes_no_secret(heard):
    token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJib2IifQ.c2lnbmF0dXJl"
    miss = ask(Player([cassette_of([heard("/backend-api/conversation", turn("x"))])]), turn(f"see {token}"))
    assert isinstance(miss, Miss)
    assert token not in str(miss)


def test_a_recording_without_a_body_is_found_by_its_path():
    request = RecordedRequest("POST", "/backend-api/conversation")
    player = Player([Cassette([Interaction(request, RecordedResponse(200, {}, []))])])
    assert isinstance(ask(player, turn("anything")), Interaction)
