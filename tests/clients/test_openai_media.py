"""The official Python SDK's `images` and `audio` against the real server."""

import base64
import random

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

from shim.standin.png import picture
from shim.standin.sound import recording

CAT = "a cat [[script=image_gen]]"
PNG = picture(8, 8, random.Random(1))
MP3 = recording("hello", "mp3").content
# The SDK calls variations and translations deprecated; they are served all the same.
DEPRECATED = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")


@pytest.fixture
def token(make_account):
    return make_account("media")


@pytest.fixture
def client(gateway, token):
    with OpenAI(base_url=f"{gateway.base_url}/v1", api_key=token, max_retries=0, timeout=30) as made:
        yield made


@pytest.fixture
async def async_client(gateway, token):
    async with AsyncOpenAI(base_url=f"{gateway.base_url}/v1", api_key=token, max_retries=0, timeout=30) as made:
        yield made


def is_png(data):
    return base64.b64decode(data).startswith(b"\x89PNG")


def test_pictures_are_made(client):
    made = client.images.generate(model="gpt-image-1", prompt=CAT, n=2, size="1024x1024")
    assert [is_png(one.b64_json) for one in made.data] == [True, True]
    linked = client.images.generate(model="dall-e-3", prompt=CAT)
    assert linked.data[0].url.startswith("http")


def test_a_picture_with_its_previews(client):
    events = list(client.images.generate(model="gpt-image-1", prompt=CAT, stream=True, partial_images=2))
    assert [one.type for one in events] == [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
    ]
    assert is_png(events[-1].b64_json)
    assert events[-1].usage.total_tokens > 0


async def test_pictures_are_edited(async_client):
    made = await async_client.images.edit(image=[("a.png", PNG), ("b.png", PNG)], mask=("m.png", PNG), prompt=CAT)
    assert is_png(made.data[0].b64_json)
    stream = await async_client.images.edit(image=("a.png", PNG), prompt=CAT, stream=True, partial_images=1)
    assert [one.type async for one in stream] == ["image_edit.partial_image", "image_edit.completed"]


@DEPRECATED
def test_pictures_are_varied(client):
    made = client.images.create_variation(image=("a.png", PNG), n=1, response_format="b64_json")
    assert is_png(made.data[0].b64_json)


def test_a_picture_that_is_refused(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(model="gpt-image-1", prompt="a cat [[failure=content_policy]]")
    assert (refused.value.code, refused.value.type) == ("moderation_blocked", "image_generation_user_error")
    with pytest.raises(openai.APIError) as broken:
        list(client.images.generate(model="gpt-image-1", prompt="a cat [[script=image_refused]]", stream=True))
    assert broken.value.code == "no_image"


@pytest.mark.parametrize("kind", ["mp3", "aac", "opus"])
def test_speech(client, kind):
    spoken = client.audio.speech.create(model="tts-1", voice="nova", input="two words", response_format=kind)
    assert spoken.content == recording("two words", kind).content


async def test_speech_is_streamed(async_client):
    asked = {"model": "gpt-4o-mini-tts", "voice": "coral", "input": "two words"}
    async with async_client.audio.speech.with_streaming_response.create(**asked) as answer:
        assert answer.headers["content-type"] == "audio/mpeg"
        assert b"".join([piece async for piece in answer.iter_bytes()]) == recording("two words", "mp3").content


def test_a_format_that_upstream_has_not(client):
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.speech.create(model="tts-1", voice="nova", input="words", response_format="wav")
    assert refused.value.param == "response_format"


@DEPRECATED
def test_recordings(client):
    def write(**more):
        return client.audio.transcriptions.create(model="whisper-1", file=("talk.mp3", MP3), **more)

    text = write(language="nl").text
    assert text.endswith("language nl.")
    assert write(response_format="text", language="nl") == f"{text}\n"
    assert write(response_format="verbose_json", language="nl").text == text
    events = list(write(stream=True, language="nl"))
    assert [one.type for one in events] == ["transcript.text.delta", "transcript.text.done"]
    assert events[-1].text == text
    assert client.audio.translations.create(model="whisper-1", file=("talk.mp3", MP3)).text
