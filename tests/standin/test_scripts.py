"""What each script is for, seen by a reader."""

from random import Random

from shim.standin import wording


async def test_text_says_what_it_is_and_repeats_the_question(served):
    reading = await served.client().told("What is a heron?")
    assert reading.done
    (answer,) = reading.answers
    assert "chat2api demo upstream" in answer
    assert "What is a heron?" in answer
    assert "gpt-5-2" in answer


async def test_order_and_typed_events(served):
    """Protocol.md 5.1: hidden system message, user echo, assistant; 5.3: what comes around them."""
    reading = await served.client().told("Hello")
    roles = [message["author"]["role"] for message in reading.messages.values()]
    assert roles == ["system", "user", "assistant"]
    system, user, assistant = reading.messages.values()
    assert system["metadata"]["is_visually_hidden_from_conversation"] is True
    assert user["content"]["parts"] == ["Hello"]
    assert assistant["metadata"]["parent_id"] == user["id"]
    assert assistant["metadata"]["model_slug"] == "gpt-5-2"
    assert assistant["status"] == "finished_successfully"
    assert assistant["end_turn"] is True
    assert assistant["metadata"]["finish_details"] == {"type": "stop", "stop_tokens": [200002]}
    kinds = [event["type"] for event in reading.typed]
    assert kinds[0] == "resume_conversation_token"
    assert {"input_message", "message_marker", "title_generation", "server_ste_metadata"} <= set(kinds)
    assert kinds[-2:] == ["message_stream_complete", "conversation_detail_metadata"]


async def test_the_user_echo_keeps_the_id(served, conversation):
    body = conversation("Hello")
    reading = await served.client().told(body)
    assert body["messages"][0]["id"] in reading.messages


async def test_say_and_words(served):
    told = await served.client().told("[[say=exactly this]]")
    assert told.answers == ["exactly this"]
    told = await served.client().told("[[words=2003]]")
    assert len(told.answers[0].split()) == 2003


async def test_long_is_several_thousand_words_by_default(served):
    told = await served.client().told("[[script=long]]")
    assert len(told.answers[0].split()) == 3000


async def test_unicode_arrives_unharmed(served):
    told = await served.client().told("[[script=unicode chunks=split]]")
    assert told.answers == [wording.UNICODE]


async def test_code(served):
    reading = await served.client().told("[[script=code]]")
    call = next(one for one in reading.messages.values() if one["content"]["content_type"] == "code")
    output = next(one for one in reading.messages.values() if one["content"]["content_type"] == "execution_output")
    assert call["recipient"] == "python"
    assert call["content"]["text"] == wording.CODE_SOURCE
    assert call["end_turn"] is False
    assert output["author"] == {"role": "tool", "name": "python", "metadata": {}}
    assert f"```python\n{wording.CODE_SOURCE}```" in reading.answers[0]


async def test_reasoning(served):
    reading = await served.client().told("[[script=reasoning]]")
    kinds = [message["content"]["content_type"] for message in reading.messages.values()]
    assert kinds == ["text", "text", "thoughts", "reasoning_recap", "text"]
    thoughts = next(one for one in reading.messages.values() if one["content"]["content_type"] == "thoughts")
    told = [(thought["summary"], thought["content"]) for thought in thoughts["content"]["thoughts"]]
    assert tuple(told) == wording.THOUGHTS
    assert all(thought["finished"] for thought in thoughts["content"]["thoughts"])


async def test_thinking_models_think_and_search_cites(served, conversation):
    reading = await served.client().told(conversation("Hello", model="o3"))
    assert any(one["content"]["content_type"] == "thoughts" for one in reading.messages.values())
    reading = await served.client().told(conversation("Hello", system_hints=["search"]))
    assert "\ue200cite" in reading.answers[0]


async def test_preamble_is_not_the_answer(served):
    reading = await served.client().told("[[script=preamble]]")
    assert len(reading.answers) == 1
    assert "PREAMBLE" not in reading.answers[0]


async def test_hidden_things_stay_hidden(served):
    reading = await served.client().told("[[script=hidden]]")
    shown = [text for text in reading.answers if "HIDDEN" in text]
    assert shown == []
    assert reading.of_type("brand_new_kind")


async def test_citations(served):
    """Protocol.md 5.4: matched_text is the marker, start_idx and end_idx are its place."""
    reading = await served.client().told("[[script=citations]]")
    message = list(reading.messages.values())[-1]
    text = message["content"]["parts"][0]
    references = message["metadata"]["content_references"]
    assert [reference["type"] for reference in references] == ["grouped_webpages", "entity"]
    for reference in references:
        assert text[reference["start_idx"] : reference["end_idx"]] == reference["matched_text"]
        assert "invalid" not in reference


# script -> ([DONE] seen, errors seen, answers seen)
ENDS = {
    "error": (True, 1, 1),
    "error_object": (True, 1, 1),
    "error_first": (True, 1, 0),
    "error_limit": (True, 1, 0),
    "error_typed": (True, 1, 0),
    "error_policy": (True, 1, 0),
    "cut": (False, 0, 1),
    "cut_first": (False, 0, 0),
    "empty": (True, 0, 0),
    "empty_text": (True, 0, 1),
    "interrupted": (True, 0, 1),
    "moderation_blocked": (True, 0, 1),
    "moderation_ok": (True, 0, 1),
    "interleaved": (True, 0, 1),
    "handoff": (True, 0, 0),
}


async def test_how_streams_end(served):
    for script, end in ENDS.items():
        reading = await served.client().told(f"[[script={script}]]")
        assert (reading.done, len(reading.errors), len(reading.answers)) == end, script


async def test_a_cut_answer_never_finished(served):
    reading = await served.client().told("[[script=cut]]")
    assert list(reading.messages.values())[-1]["end_turn"] is None


async def test_moderation(served):
    blocked = (await served.client().told("[[script=moderation_blocked]]")).of_type("moderation")
    assert [event["moderation_response"]["blocked"] for event in blocked] == [True]
    harmless = await served.client().told("[[script=moderation_ok]]")
    assert [event["moderation_response"]["blocked"] for event in harmless.of_type("moderation")] == [False]
    assert any("moderation_response" in event and "type" not in event for event in harmless.typed)


async def test_max_tokens_then_continue(served, conversation):
    """Protocol.md 4.1: continue takes no messages, and its parent is the cut answer."""
    client = served.client()
    first = await client.told("[[script=max_tokens say=one two three four five six]]")
    message = list(first.messages.values())[-1]
    assert message["status"] == "finished_partial_completion"
    assert message["metadata"]["finish_details"] == {"type": "max_tokens"}
    body = conversation(
        action="continue",
        conversation_id=first.of_type("message_stream_complete")[0]["conversation_id"],
        parent_message_id=message["id"],
    )
    del body["messages"]
    second = await client.told(body)
    assert first.answers[0] + second.answers[0] == "one two three four five six"
    assert (await client.turn(body)).status_code == 422  # nothing is left


async def test_continue_several_times(served, conversation):
    """Each continue names the answer before it; only the last one ends the turn."""
    client, parts = served.client(), 4
    reading = await client.saved(f"[[script=max_tokens parts={parts} say=one two three four five six]]")
    told = list(reading.answers)
    for _ in range(parts - 1):
        cut = list(reading.messages.values())[-1]
        assert cut["metadata"]["finish_details"] == {"type": "max_tokens"}
        same = {"conversation_id": reading.conversation_id, "parent_message_id": cut["id"]}
        body = conversation(action="continue", **same)
        del body["messages"]
        reading = await client.told(body)
        told += reading.answers
    assert len(told) == parts
    assert "".join(told) == "one two three four five six"
    assert list(reading.messages.values())[-1]["end_turn"] is True


async def test_handoff_then_resume(served, read):
    """Protocol.md 5.6, as recorded in 2026-06."""
    client = served.client()
    reading = await client.told("[[script=handoff]]")
    assert [event["type"] for event in reading.typed] == ["resume_conversation_token", "stream_handoff"]
    token, handoff = reading.typed
    asked = {"conversation_id": handoff["conversation_id"], "offset": 0}
    answer = await client.post("/f/conversation/resume", asked, **{"x-conduit-token": token["token"]})
    assert len(read(answer.content).answers) == 1
    for headers in ({}, {"x-conduit-token": "no-token"}):  # without a token the beginning can be had, and no more
        assert (await client.post("/f/conversation/resume", asked, **headers)).status_code == 200
        refused = await client.post("/f/conversation/resume", asked | {"offset": 2}, **headers)
        assert (refused.status_code, refused.json()["detail"]["code"]) == (404, "tokenless_resume_unavailable")


def test_long_answers_have_exactly_that_many_words():
    assert [len(wording.long_answer(words).split()) for words in (0, 1, 17, 500)] == [0, 1, 17, 500]


def test_pieces_lose_nothing():
    for text in ("", " ", "a", wording.UNICODE, wording.CODE_SOURCE, "\n\n  x  \n"):
        assert "".join(wording.pieces(text, Random(5))) == text


def test_demo_answer_shortens_long_questions():
    assert len(wording.demo_answer("word " * 5000, "gpt-5-2")) < 1000
    assert "(nothing)" in wording.demo_answer("", "gpt-5-2")
