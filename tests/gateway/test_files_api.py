"""`/v1/files` through the real gateway: what OpenAI's and Anthropic's libraries read, whose a file is, and requests
that name one."""

import base64
import json

import anthropic
import httpx
import openai
import pytest
from anthropic.types import DeletedFile, FileMetadata
from openai.types import FileDeleted, FileObject

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)
NOTES = ("notes.txt", b"Buy milk.\n")
KEYS = "key-of-ada,key-of-bob"
VERSION = {"anthropic-version": "2023-06-01"}


@pytest.fixture
def house(pooled, upstream, tell):
    """A gateway with two accounts, for two keys."""
    return pooled(upstream.base_url, *(tell(f"files-{number}") for number in range(2)), AUTHORIZATION=KEYS)


def library(house, key="key-of-ada"):
    return openai.OpenAI(base_url=f"{house.base_url}/v1", api_key=key, max_retries=0)


def anthropics(house, key="key-of-ada"):
    return anthropic.Anthropic(base_url=house.base_url, api_key=key, max_retries=0)


def sent(upstream):
    return upstream.get("/standin/stats").json()["recent_turns"]


def strict(kind, answer):
    """The library's object, from what came over the wire and by its types alone."""
    assert answer.status_code == 200, answer.text
    read = kind.model_validate_json(answer.content, strict=True)
    assert not read.model_extra
    return read


def upload(house, file=NOTES, *, key="key-of-ada", path="/v1/files", **fields):
    headers = {"authorization": f"Bearer {key}"}
    fields = {"purpose": "user_data"} | fields
    return httpx.post(
        house.base_url + path, files={"file": file}, data=fields, headers=headers, trust_env=False, timeout=60
    )


def refused(answer, status, param, code):
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (status, param, code), error


def test_a_file_lives_through_openais_library(house):
    client = library(house)
    file = client.files.create(file=NOTES, purpose="user_data")
    assert (file.bytes, file.filename, file.purpose, file.status) == (10, "notes.txt", "user_data", "processed")
    assert file.expires_at - file.created_at == 30 * 86400
    assert client.files.retrieve(file.id) == file
    assert [one.id for one in client.files.list()] == [file.id]
    assert client.files.content(file.id).read() == NOTES[1]
    assert client.files.wait_for_processing(file.id).id == file.id
    gone = client.files.delete(file.id)
    assert (gone.id, gone.deleted) == (file.id, True)
    for act in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(openai.NotFoundError):
            act(file.id)
    assert list(client.files.list()) == []


@pytest.mark.parametrize(
    ("name", "plain", "whole"),
    [
        ("日本語.txt", "___.txt", "%E6%97%A5%E6%9C%AC%E8%AA%9E.txt"),
        ("Übung 1.txt", "_bung_1.txt", "%C3%9Cbung_1.txt"),
    ],
)
def test_a_file_of_any_name_is_fetched(house, name, plain, whole):
    client = library(house)
    answer = client.files.content(client.files.create(file=(name, b"text"), purpose="user_data").id)
    assert answer.read() == b"text"
    told = answer.response.headers["content-disposition"]
    assert told == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{whole}"


def test_every_object_fits_openais_types(house):
    created = upload(house)
    file = strict(FileObject, created)
    headers = {"authorization": "Bearer key-of-ada"}
    for path in (f"/v1/files/{file.id}", f"/files/{file.id}", f"/v1/v1/files/{file.id}"):
        assert strict(FileObject, httpx.get(house.base_url + path, headers=headers, trust_env=False)) == file
    listed = httpx.get(f"{house.base_url}/v1/files", headers=headers, trust_env=False).json()
    assert listed == {
        "object": "list",
        "data": [created.json()],
        "first_id": file.id,
        "last_id": file.id,
        "has_more": False,
    }
    gone = httpx.delete(f"{house.base_url}/v1/files/{file.id}", headers=headers, trust_env=False)
    assert strict(FileDeleted, gone).id == file.id


def test_a_file_lives_through_anthropics_library(house):
    client = anthropics(house)
    files = client.files if hasattr(client, "files") else client.beta.files
    made = files.upload(file=("notes.txt", NOTES[1], "text/plain"))
    assert (made.filename, made.mime_type, made.size_bytes, made.downloadable) == ("notes.txt", "text/plain", 10, True)
    assert files.retrieve_metadata(made.id) == made
    assert [one.id for one in files.list()] == [made.id]
    assert files.download(made.id).read() == NOTES[1]
    wire = httpx.get(
        f"{house.base_url}/v1/files/{made.id}", headers=VERSION | {"x-api-key": "key-of-ada"}, trust_env=False
    )
    strict(FileMetadata, wire)
    gone = httpx.delete(
        f"{house.base_url}/v1/files/{made.id}", headers=VERSION | {"x-api-key": "key-of-ada"}, trust_env=False
    )
    assert strict(DeletedFile, gone).id == made.id
    with pytest.raises(anthropic.NotFoundError) as missing:
        files.retrieve_metadata(made.id)
    assert missing.value.body["error"]["type"] == "not_found_error"


def test_a_new_key_of_an_old_name_inherits_nothing(pooled, upstream, tell):
    house = pooled(upstream.base_url, tell("files-heir"))
    headers = {"authorization": "Bearer admin-key"}
    with httpx.Client(base_url=f"{house.base_url}/tokens/api", headers=headers, trust_env=False) as admin:
        key = admin.post("/keys", json={"name": "ci"}).json()["key"]
        file = upload(house, key=key).json()["id"]
        response = house.post(
            "/v1/responses", {"model": "auto", "input": "[[say=one]]"}, authorization=f"Bearer {key}"
        ).json()["id"]
        paths = (f"/v1/files/{file}", f"/v1/responses/{response}")

        def seen(key):
            headers = {"authorization": f"Bearer {key}"}
            listed = httpx.get(f"{house.base_url}/v1/files", headers=headers, trust_env=False).json()["data"]
            codes = [httpx.get(house.base_url + path, headers=headers, trust_env=False).status_code for path in paths]
            return len(listed), codes

        rotated = admin.post("/keys/ci/rotate").json()["key"]
        assert seen(rotated) == (1, [200, 200])  # the same key, by another secret
        admin.delete("/keys/ci")
        heir = admin.post("/keys", json={"name": "ci"}).json()["key"]
        assert seen(heir) == (0, [404, 404])
        follow = {"model": "auto", "input": "x", "previous_response_id": response}
        refused(
            house.post("/v1/responses", follow, authorization=f"Bearer {heir}"),
            400,
            "previous_response_id",
            "previous_response_not_found",
        )


@pytest.mark.parametrize("limit", ["0", "-1", "1.0", "²", "000000001999999", "000000001" + "1" * 5000])
def test_a_limit_is_a_number_of_a_page(house, limit):
    for headers in ({"authorization": "Bearer key-of-ada"}, VERSION | {"x-api-key": "key-of-ada"}):
        answer = httpx.get(f"{house.base_url}/v1/files", params={"limit": limit}, headers=headers, trust_env=False)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def library_of_before(house):
    """How Anthropic's clients asked for pages when these had no names yet."""

    def ask(query, ids):
        headers = VERSION | {"x-api-key": "key-of-ada"}
        told = httpx.get(f"{house.base_url}/v1/files?{query.format(*ids)}", headers=headers, trust_env=False).json()
        return told["error"]["type"] if "error" in told else ([one["id"] for one in told["data"]], told["has_more"])

    return ask


def test_pages(house):
    client = library(house)
    ids = [client.files.create(file=NOTES, purpose=("user_data", "vision")[at % 2]).id for at in range(5)]
    assert [one.id for one in client.files.list(limit=2)] == ids[::-1]
    assert [one.id for one in client.files.list(limit=2, order="asc")] == ids
    assert [one.id for one in client.files.list(limit=1, purpose="vision")] == [ids[3], ids[1]]
    first = client.files.list(limit=2, after=ids[3])
    assert ([one.id for one in first.data], first.has_more) == ([ids[2], ids[1]], True)
    files = anthropics(house).files
    assert [one.id for one in files.list(limit=2)] == ids[::-1]
    assert [one.id for one in files.list(ids=[ids[4], "file-of-nobody", ids[0]])] == [ids[4], ids[0]]
    older = library_of_before(house)
    assert older("limit=2&before_id={1}", ids) == ([ids[3], ids[2]], True)
    assert older("limit=2&after_id={2}", ids) == ([ids[1], ids[0]], False)
    for wrong in ("page=wrong", "page=page_wrong", "after_id=nope", "before_id=nope"):
        assert older(wrong, ids) == "invalid_request_error"
    client.files.delete(ids[2])
    assert [one.id for one in client.files.list(limit=9, after=ids[2])] == [ids[1], ids[0]]
    with pytest.raises(openai.BadRequestError) as refused:
        client.files.list(after="nope")
    assert (refused.value.param, refused.value.code) == ("after", "invalid_value")


def test_nobody_elses_file_is_there(house):
    file = library(house).files.create(file=NOTES, purpose="user_data")
    bob = library(house, "key-of-bob")
    assert list(bob.files.list()) == []
    for act in (bob.files.retrieve, bob.files.content, bob.files.delete):
        with pytest.raises(openai.NotFoundError):
            act(file.id)
    part = {"type": "file", "file": {"file_id": file.id}}
    with pytest.raises(openai.NotFoundError) as asked:
        bob.chat.completions.create(model="auto", messages=[{"role": "user", "content": [part]}])
    assert asked.value.param == "messages[0].content[0].file.file_id"
    with pytest.raises(openai.AuthenticationError):
        library(house, "key-of-nobody").files.create(file=NOTES, purpose="user_data")


def test_requests_that_name_a_file_go_to_the_account_that_has_it(house, upstream):
    client = library(house)
    notes = client.files.create(file=NOTES, purpose="user_data")
    dot = client.files.create(file=("dot.png", PNG), purpose="vision")
    parts = [
        {"type": "text", "text": "[[say=read]]"},
        {"type": "file", "file": {"file_id": notes.id}},
        {"type": "input_image", "file_id": dot.id},
    ]
    for _ in range(3):
        told = client.chat.completions.create(model="auto", messages=[{"role": "user", "content": parts}])
        assert told.choices[0].message.content == "read"
    blocks = [
        {"type": "text", "text": "[[say=seen]]"},
        {"type": "document", "source": {"type": "file", "file_id": notes.id}, "context": "Mine."},
        {"type": "image", "source": {"type": "file", "file_id": dot.id}},
    ]
    message = anthropics(house).messages.create(
        model="auto", max_tokens=99, messages=[{"role": "user", "content": blocks}]
    )
    assert message.content[0].text == "seen"
    turns = sent(upstream)
    assert len({turn["identity"] for turn in turns}) == 1
    for turn in turns:
        last = turn["conversation"]["messages"][-1]
        assert [one["name"] for one in last["metadata"]["attachments"]] == ["notes.txt", "dot.png"]
        assert "dot" not in json.dumps(last["content"]["parts"][0])
        assert last["content"]["content_type"] == "multimodal_text"
    stats = upstream.get("/standin/stats").json()["files"]
    assert stats["stored"] == 2  # once each, however often they are named


def test_what_is_no_picture_is_refused_as_one(house):
    notes = library(house).files.create(file=NOTES, purpose="user_data")
    with pytest.raises(openai.BadRequestError) as refusal:
        library(house).chat.completions.create(
            model="auto", messages=[{"role": "user", "content": [{"type": "input_image", "file_id": notes.id}]}]
        )
    assert (refusal.value.param, refusal.value.code) == ("messages[0].content[0].file_id", "unsupported_file_type")


@pytest.mark.parametrize(
    ("file", "fields", "status", "param", "code"),
    [
        (NOTES, {"purpose": "batch"}, 400, "purpose", "unsupported_purpose"),
        (NOTES, {"purpose": "other"}, 400, "purpose", "invalid_value"),
        (NOTES, {"expires_after[seconds]": "1"}, 400, "expires_after", "invalid_value"),
        (NOTES, {"expires_after[anchor]": "created_at"}, 400, "expires_after", "invalid_value"),
        (NOTES, {"expires_after[anchor]": "now", "expires_after[seconds]": "3600"}, 400, "expires_after", None),
        (("a.txt", b""), {}, 400, "file", "empty_file"),
        (("dot.png", PNG[:20]), {}, 400, "file", "unsupported_file_type"),
    ],
)
def test_what_can_not_be_taken_is_refused(house, file, fields, status, param, code):
    refused(upload(house, file, **fields), status, param, code or "invalid_value")


def test_what_is_no_form_is_refused(house):
    headers = {"authorization": "Bearer key-of-ada"}

    def post(**body):
        return httpx.post(f"{house.base_url}/v1/files", headers=headers, trust_env=False, **body)

    refused(post(json={}), 400, None, "invalid_content_type")
    refused(post(files={"x": ("x", b"y")}, data={"purpose": "vision"}), 400, "file", "missing_required_parameter")
    refused(post(files={"file": NOTES}), 400, "purpose", "missing_required_parameter")
    broken = {"content-type": "multipart/form-data; boundary=x"} | headers
    cut = httpx.post(f"{house.base_url}/v1/files", headers=broken, content=b"--x\r\nwhat", trust_env=False)
    refused(cut, 400, None, "invalid_multipart")
    for query, param in (("limit=0", "limit"), ("order=up", "order")):
        listed = httpx.get(f"{house.base_url}/v1/files?{query}", headers=headers, trust_env=False)
        refused(listed, 400, param, "invalid_value")


def test_a_file_expires(house):
    made = upload(house, **{"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}).json()
    assert made["expires_at"] - made["created_at"] == 3600


def test_what_is_too_large_is_refused(pooled, upstream, tell):
    house = pooled(upstream.base_url, tell("files"), AUTHORIZATION=KEYS, MAX_UPLOAD_BYTES="5000")
    refused(upload(house, ("a.txt", b"x" * 5001)), 413, "file", "file_too_large")
    assert upload(house, ("a.txt", b"x" * 5000)).status_code == 200
    smaller = tell("small", file_limit=100)
    small = pooled(upstream.base_url, smaller, AUTHORIZATION=KEYS)
    refused(upload(small, ("a.txt", b"x" * 200)), 400, None, "file_too_large")


def test_without_an_account_there_are_no_files(gateway):
    answer = httpx.post(
        f"{gateway.base_url}/v1/files", files={"file": NOTES}, data={"purpose": "vision"}, trust_env=False
    )
    refused(answer, 400, None, "files_need_account")


def test_a_callers_own_account_has_its_own_files(gateway, make_account):
    one, other = (make_account(name, plan="plus") for name in ("filer", "other"))
    client = library(gateway, one)
    file = client.files.create(file=NOTES, purpose="user_data")
    assert client.files.content(file.id).read() == NOTES[1]
    part = {"type": "file", "file": {"file_id": file.id}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "[[say=mine]]"}, part]}]
    assert client.chat.completions.create(model="auto", messages=messages).choices[0].message.content == "mine"
    with pytest.raises(openai.NotFoundError):
        library(gateway, other).files.retrieve(file.id)


def test_any_gateway_on_one_redis_answers(pooled, redis_url, upstream, tell):
    settings = {"REDIS_URL": redis_url, "AUTHORIZATION": KEYS}
    one = pooled(upstream.base_url, tell("shared"), **settings)
    other = pooled(upstream.base_url, **settings)
    file = library(one).files.create(file=NOTES, purpose="user_data")
    assert library(other).files.retrieve(file.id) == file
    assert library(other).files.content(file.id).read() == NOTES[1]
    assert library(other).files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        library(one).files.retrieve(file.id)


def test_files_that_different_accounts_have_are_not_named_together(pooled, upstream, tell):
    house = pooled(upstream.base_url, tell("apart-0"), AUTHORIZATION=KEYS)
    client = library(house)
    first = client.files.create(file=NOTES, purpose="user_data")
    (account,) = httpx.get(
        f"{house.base_url}/tokens/api/accounts", headers={"authorization": "Bearer admin-key"}, trust_env=False
    ).json()["accounts"]
    headers = {"authorization": "Bearer admin-key"}
    httpx.delete(f"{house.base_url}/tokens/api/accounts/{account['id']}", headers=headers, trust_env=False)
    assert house.post("/tokens/api/accounts", {"text": tell("apart-1")}, **headers).status_code == 200
    second = client.files.create(file=NOTES, purpose="user_data")
    parts = [{"type": "file", "file": {"file_id": one.id}} for one in (first, second)]
    with pytest.raises(openai.BadRequestError) as apart:
        client.chat.completions.create(model="auto", messages=[{"role": "user", "content": parts}])
    assert (apart.value.param, apart.value.code) == ("messages[0].content[1].file.file_id", "files_apart")
    with pytest.raises(openai.NotFoundError):  # the account that had it is gone
        client.chat.completions.create(model="auto", messages=[{"role": "user", "content": parts[:1]}])


def test_a_named_key_keeps_its_files_and_its_limits(pooled, upstream, tell):
    house, admin = pooled(upstream.base_url, tell("limited")), {"authorization": "Bearer admin-key"}
    made = house.post("/tokens/api/keys", {"name": "phone", "requests_per_minute": 2}, **admin).json()
    first = upload(house, key=made["key"])
    assert first.status_code == 200
    turned = house.post("/tokens/api/keys/phone/rotate", {}, **admin).json()
    assert library(house, turned["key"]).files.retrieve(first.json()["id"]).filename == "notes.txt"
    assert upload(house, key=turned["key"]).status_code == 200
    over = upload(house, key=turned["key"])
    assert (over.status_code, over.json()["error"]["type"]) == (429, "rate_limit_error")


def test_an_uploaded_picture_is_edited(house, upstream):
    file = upload(house, ("a.png", PNG)).json()["id"]
    ask = {"prompt": "bluer [[script=image_gen]]", "images": [{"file_id": file}]}
    answer = house.post("/v1/images/edits", ask, authorization="Bearer key-of-ada")
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"][0]["b64_json"]
    assert "image_asset_pointer" in json.dumps(sent(upstream)[-1]["conversation"])
    ask = ask | {"images": [{"file_id": upload(house).json()["id"]}]}
    refused(
        house.post("/v1/images/edits", ask, authorization="Bearer key-of-ada"),
        400,
        "images[0].file_id",
        "unsupported_file_type",
    )
    ask = ask | {"images": [{"file_id": file}]}
    refused(
        house.post("/v1/images/edits", ask, authorization="Bearer key-of-bob"),
        404,
        "images[0].file_id",
        "file_not_found",
    )
