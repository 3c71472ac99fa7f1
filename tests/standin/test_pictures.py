"""Pictures: every script of protocol.md 6.5, and the bytes behind the pointers."""

import struct
import zlib
from random import Random

import pytest

from shim.standin.png import picture


def pointers(message):
    return [part["asset_pointer"] for part in message["content"]["parts"] if isinstance(part, dict)]


def gen_id(message):
    return message["content"]["parts"][0]["metadata"]["dalle"]["gen_id"]


def read_png(content):
    """(width, height, rows of pixels) by the PNG specification; checks every checksum."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, place = [], 8
    while place < len(content):
        (size,) = struct.unpack(">I", content[place : place + 4])
        kind, data = content[place + 4 : place + 8], content[place + 8 : place + 8 + size]
        (crc,) = struct.unpack(">I", content[place + 8 + size : place + 12 + size])
        assert crc == zlib.crc32(kind + data)
        chunks.append((kind, data))
        place += 12 + size
    assert [kind for kind, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"]
    width, height = struct.unpack(">II", chunks[0][1][:8])
    pixels = zlib.decompress(chunks[1][1])
    assert len(pixels) == height * (1 + 3 * width)
    return width, height, pixels


def test_a_picture_is_a_real_png():
    width, height, _ = read_png(picture(48, 32, Random(1)))
    assert (width, height) == (48, 32)
    assert picture(4, 4, Random(1)) != picture(4, 4, Random(2))


async def fetched(served, client, pointer):
    """The bytes behind a pointer, as a client would fetch them."""
    told = (await client.get(f"/files/{pointer.partition('://')[2]}/download")).json()
    return (await served.http.get(told["download_url"])).content


async def test_dalle(served):
    client = served.client()
    reading = await client.told("A field [[script=image_dalle]]")
    (call,) = reading.by_content("code")
    assert call["recipient"] == "dalle.text2im"
    assert '"prompt": "A field"' in call["content"]["text"]
    (result,) = reading.by_content("multimodal_text")
    assert (result["author"]["role"], result["author"]["name"]) == ("tool", "dalle.text2im")
    (pointer,) = pointers(result)
    assert pointer.startswith("file-service://file-")
    part = result["content"]["parts"][0]
    content = await fetched(served, client, pointer)
    assert read_png(content)[:2] == (part["width"], part["height"])
    assert part["size_bytes"] == len(content)


async def test_image_gen(served):
    """As recorded in 2026-05: call, picture, hidden words, answer; here with previews before."""
    client = served.client()
    reading = await client.told("A field [[script=image_gen]]")
    (call,) = reading.by_content("code")
    assert call["content"]["text"] == '{"skipped_mainline":true}'
    preview, final = reading.by_content("multimodal_text")
    assert (preview["status"], final["status"]) == ("in_progress", "finished_successfully")
    assert gen_id(preview) == gen_id(final)
    assert pointers(preview) != pointers(final)
    assert final["metadata"]["image_gen_title"]
    (pointer,) = pointers(final)
    assert pointer.startswith("sediment://file_0000")
    read_png(await fetched(served, client, pointer))
    path = f"/conversation/{reading.conversation_id}/attachment/{pointer[11:]}/download"
    read_png((await served.http.get((await client.get(path)).json()["download_url"])).content)
    hidden = [one for one in reading.by_content("text") if one["author"]["role"] == "tool"]
    assert "HIDDEN" in hidden[0]["content"]["parts"][0]
    assert len(reading.answers) == 1
    (metadata,) = (event["metadata"] for event in reading.of_type("server_ste_metadata"))
    assert (metadata["turn_use_case"], metadata["tool_invoked"]) == ("image gen", True)


async def test_a_preview_is_replaced_in_place(served, read):
    answer = await served.client().turn("[[script=image_gen encoding=v1]]")
    paths = [op.get("p") for delta in read(answer.content).deltas for op in operations(delta)]
    assert "/message/content/parts/0/asset_pointer" in paths


def operations(delta):
    return delta["v"] if isinstance(delta.get("v"), list) else [delta]


async def test_two_at_once(served):
    client = served.client()
    reading = await client.told("[[script=image_many]]")
    results = reading.by_content("multimodal_text")
    assert len({gen_id(result) for result in results}) == 2
    assert {result["status"] for result in results} == {"finished_successfully"}
    contents = [await fetched(served, client, pointer) for result in results for pointer in pointers(result)]
    assert len(set(contents)) == 2


async def test_async(served):
    client = served.client()
    reading = await client.saved("[[script=image_async polls=2]]")
    assert reading.done
    assert [event["async_status"] for event in reading.of_type("conversation_async_status")] == [4]
    card = next(one for one in reading.messages.values() if one["metadata"].get("image_gen_task_id"))
    assert card["author"]["role"] == "tool"
    assert reading.answers == []
    looks = [(await client.get(f"/conversation/{reading.conversation_id}")).json() for _ in range(4)]
    assert [look["async_status"] for look in looks] == [4, 4, None, None]
    newest = looks[2]["mapping"][looks[2]["current_node"]]["message"]
    assert newest["metadata"]["async_task_type"] == "image_gen"
    read_png(await fetched(served, client, pointers(newest)[0]))
    assert looks[1]["current_node"] == card["id"]


async def test_async_that_never_comes(served):
    client = served.client()
    reading = await client.saved("[[script=image_never]]")
    looks = [(await client.get(f"/conversation/{reading.conversation_id}")).json() for _ in range(5)]
    assert {look["async_status"] for look in looks} == {4}
    assert len({len(look["mapping"]) for look in looks}) == 1


@pytest.mark.parametrize(("script", "invoked"), [("image_refused", False), ("image_failed", True)])
async def test_without_a_picture(served, script, invoked):
    reading = await served.client().told(f"[[script={script}]]")
    assert reading.by_content("multimodal_text") == []
    assert len(reading.answers) == 1
    assert len(reading.by_content("system_error")) == int(invoked)
    assert reading.of_type("server_ste_metadata")[0]["metadata"]["tool_invoked"] is invoked


async def test_pictures_belong_to_their_account(served):
    reading = await served.client("alice").told("[[script=image_dalle]]")
    (pointer,) = pointers(reading.by_content("multimodal_text")[0])
    path = f"/files/{pointer.partition('://')[2]}/download"
    assert (await served.client("bob").get(path)).status_code == 404
