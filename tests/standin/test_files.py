"""Files: announce, PUT, confirm, index, fetch (protocol.md 6), and turns that name them."""

import json

import pytest

from shim.standin import Account
from shim.standin.files import MAX_BYTES, Files
from shim.standin.stats import Stats
from shim.standin.steps import Made


def attached(conversation, file_id, **fields):
    """A turn with one attachment."""
    entry = {"id": file_id, "size": 5, "name": "notes.txt", "mime_type": "text/plain"} | fields
    body = conversation("What is in it?")
    body["messages"][0]["metadata"] = {"attachments": [entry]}
    return body


async def test_a_document_all_the_way(served, conversation):
    client = served.client()
    file_id = await client.upload(b"hello")
    looks = [(await client.get(f"/files/{file_id}")).json()["retrieval_index_status"] for _ in range(3)]
    assert looks == ["pending", "success", "success"]
    assert (await client.turn(attached(conversation, file_id))).status_code == 200
    stats = await served.stats()
    assert {"announced": 1, "stored": 1, "stored_bytes": 5, "confirmed": 1, "attached": 1}.items() <= stats[
        "files"
    ].items()
    seen = stats["recent_turns"][-1]["conversation"]["messages"][0]["metadata"]["attachments"]
    assert [entry["id"] for entry in seen] == [file_id]


async def test_a_picture_is_not_indexed(served):
    client = served.client()
    file_id = await client.upload(b"hello", "a.png", "multimodal")
    described = (await client.get(f"/files/{file_id}")).json()
    assert described["retrieval_index_status"] is None
    assert described["state"] == "ready"
    assert described["name"] == "a.png"


async def test_indexing_as_the_account_says(served):
    await served.account(name="alice", index_polls=3, index="failed")
    client = served.client()
    file_id = await client.upload(b"hello")
    looks = [(await client.get(f"/files/{file_id}")).json()["retrieval_index_status"] for _ in range(4)]
    assert looks == ["pending", "pending", "pending", "failed"]


async def test_the_put_takes_no_authorization(served):
    client = served.client()
    url = (await client.announce(5))["upload_url"]
    assert url.startswith(served.running.base_url + "/standin/blobs/file-")
    answer = await served.http.put(url, content=b"hello", headers={"authorization": client.headers["authorization"]})
    assert answer.status_code == 400
    assert (await served.stats())["files"]["sent_with_authorization"] == 1
    assert (await served.http.put(url, content=b"hello")).status_code == 201


async def test_a_wrong_link_is_refused_as_xml(served):
    url = (await served.client().announce(5))["upload_url"]
    for wrong in (url[:-1] + ("0" if url[-1] != "0" else "1"), url.partition("?")[0], url.replace("file-", "file-0")):
        answer = await served.http.put(wrong, content=b"hello")
        assert answer.status_code == 403
        assert answer.headers["content-type"].startswith("application/xml")
    assert (await served.stats())["files"]["wrong_links"] == 3


async def test_the_upload_link_does_not_fetch(served):
    url = (await served.client().announce(5))["upload_url"]
    await served.http.put(url, content=b"hello")
    assert (await served.http.get(url)).status_code == 403


async def test_process_upload_stream(served):
    """As recorded in 2026-04: three lines of JSON."""
    client = served.client()
    announced = await client.announce(5)
    await served.http.put(announced["upload_url"], content=b"hello")
    asked = {"file_id": announced["file_id"], "use_case": "my_files", "file_name": "notes.txt"}
    answer = await client.post("/files/process_upload_stream", asked)
    events = [json.loads(line) for line in answer.text.splitlines()]
    assert [event["event"] for event in events] == [
        "file.processing.started",
        "file.processing.file_ready",
        "file.processing.completed",
    ]
    assert {event["file_id"] for event in events} == {announced["file_id"]}


async def test_confirming_what_was_not_sent(served):
    client = served.client()
    announced = await client.announce(5)
    confirm = f"/files/{announced['file_id']}/uploaded"
    assert (await client.post(confirm, {})).status_code == 422
    await served.http.put(announced["upload_url"], content=b"hell")
    assert (await client.post(confirm, {})).status_code == 422
    assert (await served.client("bob").post(confirm, {})).status_code == 404


async def test_limits(served):
    await served.account(name="alice", file_limit=10, uploads=1)
    client = served.client()
    asked = {"file_name": "a.txt", "file_size": 11, "use_case": "my_files"}
    assert (await client.post("/files", asked)).status_code == 413
    announced = await client.announce(10)
    assert (await served.http.put(announced["upload_url"], content=b"x" * 11)).status_code == 413
    refused = await client.post("/files", asked | {"file_size": 1})
    assert refused.status_code == 429
    assert refused.json()["detail"]["code"] == "upload_quota_exceeded"


async def test_wrong_announcements(served):
    for change in ({"file_size": 0}, {"file_name": ""}, {"use_case": "other"}, {"file_size": "5"}):
        asked = {"file_name": "a.txt", "file_size": 5, "use_case": "my_files"} | change
        assert (await served.client().post("/files", asked)).status_code == 422, change


@pytest.mark.parametrize(("where", "steps"), [("upload", 0), ("blob", 1), ("confirm", 2), ("download", 3)])
async def test_planned_failures(served, where, steps):
    """Each step of an upload can be made to fail once; the ones before it still work."""
    await served.account(name="alice", failures=[{"where": where, "status": 503}])
    client = served.client()
    statuses = []
    asked = {"file_name": "a.txt", "file_size": 5, "use_case": "my_files"}
    announced = await client.post("/files", asked)
    statuses.append(announced.status_code)
    if steps:
        file_id, url = announced.json()["file_id"], announced.json()["upload_url"]
        statuses.append((await served.http.put(url, content=b"hello")).status_code)
    if steps > 1:
        statuses.append((await client.post(f"/files/{file_id}/uploaded", {})).status_code)
    if steps > 2:
        statuses.append((await client.get(f"/files/{file_id}/download")).status_code)
    assert statuses == [*[200, 201, 200][:steps], 503]


async def test_download_through_a_blob_link(served):
    client = served.client()
    file_id = await client.upload(b"hello")
    for path in (f"/files/{file_id}/download", f"/files/download/{file_id}"):
        told = (await client.get(path)).json()
        assert (told["status"], told["file_size_bytes"]) == ("success", 5)
        assert (await served.http.get(told["download_url"])).content == b"hello"
        bearer = {"authorization": client.headers["authorization"]}
        assert (await served.http.get(told["download_url"], headers=bearer)).status_code == 400
    assert (await served.stats())["files"]["fetched_with_authorization"] == 2


async def test_download_through_estuary(served):
    await served.account(name="alice", downloads="estuary")
    client = served.client()
    file_id = await client.upload(b"hello")
    url = (await client.get(f"/files/{file_id}/download")).json()["download_url"]
    assert url.startswith(f"{served.running.base_url}/backend-api/estuary/content?id={file_id}&sig=")
    bearer = {"authorization": client.headers["authorization"]}
    assert (await served.http.get(url, headers=bearer)).content == b"hello"
    assert (await served.http.get(url)).status_code == 401
    assert (await served.http.get(url + "0", headers=bearer)).status_code == 403
    other = {"authorization": served.client("bob").headers["authorization"]}
    assert (await served.http.get(url, headers=other)).status_code == 404


async def test_missing_files_in_both_spellings(served):
    client = served.client()
    assert (await client.get("/files/file-0/download")).status_code == 404
    told = await client.get("/files/download/file-0")
    assert (told.status_code, told.json()["error_code"]) == (200, "file_not_found")
    announced = await client.announce(5)
    assert (await client.get(f"/files/{announced['file_id']}/download")).json()["status"] == "retry"


async def test_accounts_of_the_newer_spelling(served):
    await served.account(name="alice", newer_downloads=True, sediment=True)
    client = served.client()
    file_id = await client.upload(b"hello")
    assert file_id.startswith("file_00000000")
    assert (await client.get(f"/files/{file_id}/download")).status_code == 404
    assert (await client.get(f"/files/download/{file_id}")).json()["status"] == "success"


async def test_turns_may_only_name_what_is_theirs_and_confirmed(served, conversation):
    client = served.client()
    unconfirmed = (await client.announce(5))["file_id"]
    others = await served.client("bob").upload(b"hello")
    for file_id, status in ((unconfirmed, 422), (others, 404), ("file-none", 404)):
        assert (await client.turn(attached(conversation, file_id))).status_code == status
        body = conversation("What?")
        pointer = {"content_type": "image_asset_pointer", "asset_pointer": f"file-service://{file_id}"}
        body["messages"][0]["content"] = {"content_type": "multimodal_text", "parts": [pointer, "What?"]}
        assert (await client.turn(body)).status_code == status
    shown = (await served.stats())["recent_turns"][0]["conversation"]["messages"][0]["metadata"]
    assert shown["attachments"][0]["id"] == unconfirmed


async def test_attachments_have_a_shape(served, conversation):
    for change in ({"id": ""}, {"size": "5"}, {"name": None}, {"mime_type": None}):
        answer = await served.client().turn(attached(conversation, "file-none", **change))
        assert answer.status_code == 422, change


async def test_an_anonymous_caller_has_no_files(served):
    asked = {"file_name": "a.txt", "file_size": 5, "use_case": "my_files"}
    assert (await served.client(None).post("/files", asked)).status_code == 404


def test_what_one_account_keeps_is_bounded():
    accounts = {"alice": Account("alice")}
    files = Files(accounts, Stats(), lambda: 0.0)
    third = bytes(MAX_BYTES // 3)
    for number in range(5):
        files.deposit("alice", Made(f"file-{number}", "a", "text/plain", third))
    kept = [number for number in range(5) if f"file-{number}" in files._known]
    assert kept == [2, 3, 4]
