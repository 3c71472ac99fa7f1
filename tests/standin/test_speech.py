"""Reading aloud and writing down (protocol.md 7.8, 7.9), and the recordings themselves."""

import struct

import pytest

from shim.standin.sound import recording


def ogg_pages(content):
    """(flags, position, packets) of each page by RFC 3533; checks the checksums bit by bit."""
    while content:
        magic, _, flags, position, _, _, checksum, count = struct.unpack("<4sBBqIIIB", content[:27])
        assert magic == b"OggS"
        sizes = content[27 : 27 + count]
        size = 27 + count + sum(sizes)
        crc = 0
        for byte in content[:22] + bytes(4) + content[26:size]:
            crc ^= byte << 24
            for _ in range(8):
                crc = (crc << 1) ^ 0x104C11DB7 if crc & 0x80000000 else crc << 1
        assert crc == checksum
        yield flags, position, list(sizes)
        content = content[size:]


def test_opus_is_a_whole_ogg_stream():
    for words in (0, 300, 5000):
        made = recording("word " * words, "opus")
        assert made.mime_type == "audio/ogg"
        pages = list(ogg_pages(made.content))
        assert [pages[0][0], pages[-1][0]] == [2, 4]
        frames = sum(len(packets) for _, _, packets in pages[2:])
        assert frames == min(500, words + 1)
        assert pages[-1][1] == frames * 960


def test_aac_frames_follow_each_other():
    content = recording("two words", "aac").content
    lengths = []
    while content:
        assert content[:2] == b"\xff\xf1"
        lengths.append((content[3] & 3) << 11 | content[4] << 3 | content[5] >> 5)
        content = content[lengths[-1] :]
    assert lengths == [13] * 3


def test_mp3_frames_are_as_long_as_their_header_says():
    """144 * 128000 / 44100 = 417 bytes without padding."""
    content = recording("two words", "mp3").content
    assert [content[place : place + 4].hex() for place in range(0, len(content), 417)] == ["fffb9064"] * 3


async def spoken(client, reading, **changes):
    asked = {
        "conversation_id": reading.conversation_id,
        "message_id": list(reading.messages)[-1],
        "voice": "cove",
        "format": "aac",
    } | changes
    return await client.get("/synthesize?" + "&".join(f"{key}={value}" for key, value in asked.items()))


async def test_reading_aloud(served):
    client = served.client()
    reading = await client.saved("[[say=three short words]]")
    for kind, mime_type in (("aac", "audio/aac"), ("mp3", "audio/mpeg"), ("opus", "audio/ogg")):
        answer = await spoken(client, reading, format=kind)
        assert answer.headers["content-type"] == mime_type
        assert answer.content == recording("three short words", kind).content


async def test_a_link_instead_of_bytes(served):
    await served.account(name="alice", speech="link")
    client = served.client()
    answer = await spoken(client, await client.saved("[[say=three short words]]"))
    content = (await served.http.get(answer.json()["download_url"])).content
    assert content == recording("three short words", "aac").content


async def test_only_saved_messages_of_the_assistant_are_read(served):
    client = served.client()
    saved = await client.saved("Hello")
    question = next(key for key, one in saved.messages.items() if one["author"]["role"] == "user")
    assert (await spoken(client, await client.told("Hello"))).status_code == 404
    assert (await spoken(client, saved, message_id="none")).status_code == 404
    assert (await spoken(client, saved, message_id=question)).status_code == 404
    assert (await spoken(served.client("bob"), saved)).status_code == 404
    assert (await spoken(client, saved, voice="alloy")).status_code == 400
    assert (await spoken(client, saved, format="flac")).status_code == 400


async def transcribed(client, files, **fields):
    return await client.http.post("/backend-api/transcribe", headers=client.headers, files=files, data=fields)


async def test_writing_down(served):
    client = served.client()
    recorded = {"file": ("talk.mp3", recording("hello", "mp3").content, "audio/mpeg")}
    told = (await transcribed(client, recorded, language="nl")).json()["text"]
    assert told == "The chat2api demo upstream received talk.mp3, 834 bytes, language nl."
    await served.account(name="alice", transcript="text")
    answer = await transcribed(client, recorded)
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.text.endswith("language unknown.")


async def test_nothing_to_write_down(served):
    client = served.client()
    assert (await transcribed(client, {"other": ("a.mp3", b"x", "audio/mpeg")})).status_code == 422
    assert (await transcribed(client, {"file": ("a.mp3", b"", "audio/mpeg")})).status_code == 400
    recorded = {"file": ("talk.mp3", b"x", "audio/mpeg")}
    answer = await client.http.post("/backend-api/transcribe", files=recorded)
    assert answer.status_code == 401


@pytest.mark.parametrize("where", ["speech", "transcript"])
async def test_planned_failures(served, where):
    await served.account(name="alice", failures=[{"where": where, "status": 503}])
    client = served.client()
    if where == "speech":
        answer = await spoken(client, await client.saved("Hello"))
    else:
        answer = await transcribed(client, {"file": ("a.mp3", b"x", "audio/mpeg")})
    assert answer.status_code == 503
