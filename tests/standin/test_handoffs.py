"""Handoffs: resume, resume that breaks off, and looking for the answer (protocol.md 5.6)."""

import pytest


async def promised(client, prompt):
    """(conversation id, resume token) of a handoff."""
    reading = await client.saved(prompt)
    assert [event["type"] for event in reading.typed] == ["resume_conversation_token", "stream_handoff"]
    assert reading.messages == {}
    return reading.conversation_id, reading.typed[0]["token"]


async def resume(client, conversation_id, token, offset=0):
    asked = {"conversation_id": conversation_id, "offset": offset}
    return await client.post("/f/conversation/resume", asked, **{"x-conduit-token": token})


async def test_resume_tells_the_answer_and_saves_it(served, read):
    client = served.client()
    conversation_id, token = await promised(client, "[[script=handoff say=here it is]]")
    reading = read((await resume(client, conversation_id, token)).content)
    assert reading.answers == ["here it is"]
    assert reading.encoding == "v1"
    status = await client.get(f"/conversation/{conversation_id}/stream_status")
    assert status.json() == {"status": "COMPLETE"}
    shown = (await client.get(f"/conversation/{conversation_id}")).json()
    assert {key: node["message"] for key, node in shown["mapping"].items() if node["message"]} == reading.messages


async def test_resume_can_be_repeated_from_any_event(served, read):
    client = served.client()
    conversation_id, token = await promised(client, "[[script=handoff say=one two three four five six]]")
    whole = (await resume(client, conversation_id, token)).content
    again = (await resume(client, conversation_id, token)).content
    assert read(again).messages == read(whole).messages
    # The announcement of the encoding, the token, two messages, input_message.
    later = (await resume(client, conversation_id, token, 5)).content
    assert b"delta_encoding" not in later
    assert read(later).typed == read(whole).typed[2:]


async def test_a_cut_resume_goes_on_at_its_offset(served, read):
    client = served.client()
    conversation_id, token = await promised(client, "[[script=handoff_cut say=one two three four five six seven]]")
    first = await resume(client, conversation_id, token)
    told = first.content[: first.content.rindex(b"\n\n") + 2]  # it breaks off within an event
    assert told != first.content
    broken = read(told)
    assert not broken.done
    events = 1 + len(broken.deltas) + len(broken.typed)
    second = await resume(client, conversation_id, token, events)
    assert read(told + second.content).answers == ["one two three four five six seven"]
    assert read((await resume(client, conversation_id, token)).content).done


@pytest.mark.parametrize("gone", [404, 410])
async def test_looking_for_the_answer(served, gone):
    client = served.client()
    conversation_id, token = await promised(client, f"[[script=handoff_poll polls=2 gone={gone} say=found]]")
    answer = await resume(client, conversation_id, token)
    assert answer.status_code == gone
    if gone == 410:
        assert answer.json()["detail"]["code"] == "persisted_final_available"
    shown = (await client.get(f"/conversation/{conversation_id}")).json()
    assert shown["mapping"][shown["current_node"]]["message"]["end_turn"] is not True
    path = f"/conversation/{conversation_id}/stream_status"
    states = [(await client.get(path)).json()["status"] for _ in range(3)]
    assert states == ["IS_STREAMING", "COMPLETE", "COMPLETE"]
    shown = (await client.get(f"/conversation/{conversation_id}")).json()
    newest = shown["mapping"][shown["current_node"]]["message"]
    assert (newest["end_turn"], newest["content"]["parts"]) == (True, ["found"])


async def test_what_a_handoff_promises_can_be_chosen(served, read):
    client = served.client()
    conversation_id, token = await promised(client, "[[script=handoff then=image_gen]]")
    assert len(read((await resume(client, conversation_id, token)).content).by_content("multimodal_text")) == 2


async def test_a_resumed_stream_is_always_in_operations(served, read):
    client = served.client()
    conversation_id, token = await promised(client, "[[script=handoff encoding=snapshot gzip=true]]")
    for _ in range(2):
        answer = await resume(client, conversation_id, token)
        assert answer.headers["content-encoding"] == "gzip"
        assert (read(answer.content).encoding, len(read(answer.content).answers)) == ("v1", 1)


async def test_only_the_caller_resumes(served):
    conversation_id, token = await promised(served.client(), "[[script=handoff]]")
    assert (await resume(served.client("bob"), conversation_id, token)).status_code == 404
    assert (await resume(served.client(), conversation_id, token + "0")).status_code == 404


async def test_a_temporary_one_is_resumed_and_not_looked_for(served, read):
    client = served.client()
    reading = await client.told("[[script=handoff say=still here]]")
    answer = await resume(client, reading.conversation_id, reading.typed[0]["token"])
    assert read(answer.content).answers == ["still here"]
    assert (await client.get(f"/conversation/{reading.conversation_id}")).status_code == 404
