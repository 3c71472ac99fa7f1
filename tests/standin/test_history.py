"""Saved conversations: the tree, the list, changes, titles, feedback (protocol.md 7.4, 7.5)."""


def walked(shown):
    """The messages from the root to current_node."""
    path, node = [], shown["mapping"][shown["current_node"]]
    while node["parent"] is not None:
        path.append(node["message"])
        node = shown["mapping"][node["parent"]]
    return path[::-1]


async def test_the_tree_holds_what_was_told(served):
    client = served.client()
    for script in ("code", "reasoning", "citations_split", "image_gen", "image_many", "interleaved"):
        reading = await client.saved(f"[[script={script}]]")
        shown = (await client.get(f"/conversation/{reading.conversation_id}")).json()
        stored = {key: node["message"] for key, node in shown["mapping"].items() if node["message"]}
        assert stored == reading.messages, script
        for key, node in shown["mapping"].items():
            assert all(shown["mapping"][child]["parent"] == key for child in node["children"]), script


async def test_every_message_sent_is_there_in_order(served, conversation):
    client = served.client()
    messages = [conversation(text)["messages"][0] for text in ("One", "Two", "Three")]
    messages[1]["author"] = {"role": "assistant"}
    reading = await client.saved(messages=messages)
    shown = walked((await client.get(f"/conversation/{reading.conversation_id}")).json())
    roles = [message["author"]["role"] for message in shown]
    assert roles == ["user", "assistant", "system", "user", "assistant"]
    assert [shown[place]["content"]["parts"] for place in (0, 1, 3)] == [["One"], ["Two"], ["Three"]]


async def test_a_second_turn_grows_the_same_tree(served):
    client = served.client()
    first = await client.saved("One")
    last = list(first.messages)[-1]
    await client.saved("Two", conversation_id=first.conversation_id, parent_message_id=last)
    shown = walked((await client.get(f"/conversation/{first.conversation_id}")).json())
    assert [message["content"]["parts"] for message in shown if message["author"]["role"] == "user"] == [
        ["One"],
        ["Two"],
    ]
    assert shown[2]["id"] == last


async def test_another_answer_is_a_branch(served, conversation):
    client = served.client()
    first = await client.saved("One")
    question = next(one for one in first.messages.values() if one["author"]["role"] == "user")
    again = {"id": question["id"], "author": {"role": "user"}, "content": question["content"]}
    parent = question["metadata"]["parent_id"]
    same = {"action": "variant", "conversation_id": first.conversation_id, "parent_message_id": parent}
    await client.saved(messages=[again], **same)
    shown = (await client.get(f"/conversation/{first.conversation_id}")).json()
    assert len(shown["mapping"][question["id"]]["children"]) == 2


async def test_temporary_and_foreign_ones_are_not_there(served):
    client = served.client()
    temporary = (await client.told("One")).conversation_id
    mine = (await client.saved("One")).conversation_id
    for caller, conversation_id in ((client, temporary), (served.client("bob"), mine), (client, "none")):
        for path in ("", "/stream_status", "/textdocs"):
            answer = await caller.get(f"/conversation/{conversation_id}{path}")
            assert answer.status_code == 404
            assert answer.json()["detail"]["code"] == "conversation_not_found"
    listed = (await client.get("/conversations")).json()
    assert [row["id"] for row in listed["items"]] == [mine]


async def test_stream_status(served):
    client = served.client()
    conversation_id = (await client.saved("One")).conversation_id
    assert (await client.get(f"/conversation/{conversation_id}/stream_status")).json() == {"status": "COMPLETE"}


async def test_list_change_and_delete(served):
    client = served.client()
    ids = [(await client.saved(f"[[say={number}]]")).conversation_id for number in range(3)]
    assert (await client.patch(f"/conversation/{ids[0]}", {"title": "New"})).json() == {"success": True}
    await client.patch(f"/conversation/{ids[1]}", {"is_archived": True})
    listed = (await client.get("/conversations?offset=0&limit=28&order=updated")).json()
    assert [row["id"] for row in listed["items"]] == [ids[2], ids[0]]
    assert listed["items"][1]["title"] == "New"
    assert (listed["total"], listed["offset"]) == (2, 0)
    archived = (await client.get("/conversations?is_archived=true")).json()
    assert [row["id"] for row in archived["items"]] == [ids[1]]
    assert [row["id"] for row in (await client.get("/conversations?offset=1&limit=1")).json()["items"]] == [ids[0]]
    await client.patch(f"/conversation/{ids[0]}", {"is_visible": False})
    assert (await client.get(f"/conversation/{ids[0]}")).status_code == 404
    await client.patch("/conversations", {"is_visible": False})
    assert (await client.get("/conversations")).json()["total"] == 0
    assert (await client.patch("/conversations", {"is_pretty": True})).status_code == 422


async def test_titles_and_feedback(served):
    client = served.client()
    reading = await client.saved("[[say=Herons stand still for hours]]")
    path, last = f"/conversation/gen_title/{reading.conversation_id}", list(reading.messages)[-1]
    assert (await client.post(path, {"message_id": last})).json() == {"title": "Herons stand still for"}
    assert (await client.get(f"/conversation/{reading.conversation_id}")).json()["title"] == "Herons stand still for"
    assert (await client.post(path, {"message_id": "none"})).status_code == 404
    rated = {"conversation_id": reading.conversation_id, "message_id": last, "rating": "thumbsUp"}
    assert (await client.post("/conversation/message_feedback", rated)).status_code == 200
    assert (await client.post("/conversation/message_feedback", rated | {"rating": "meh"})).status_code == 422


async def test_a_full_conversation_takes_no_further_turn(served, conversation, monkeypatch):
    monkeypatch.setattr("shim.standin.tree.MAX_MESSAGES", 3)
    client = served.client()
    reading = await client.saved("One")
    body = conversation("Two", conversation_id=reading.conversation_id, history_and_training_disabled=False)
    refused = await client.turn(body)
    assert (refused.status_code, refused.json()["detail"]["code"]) == (413, "conversation_too_large")


async def test_planned_failures(served):
    client = served.client()
    conversation_id = (await client.saved("One")).conversation_id
    await served.account(name="alice", failures=[{"where": "history", "status": 503, "times": 1}])
    statuses = [(await client.get(f"/conversation/{conversation_id}")).status_code for _ in range(2)]
    assert statuses == [503, 200]
