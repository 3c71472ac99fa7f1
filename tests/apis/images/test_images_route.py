"""`/v1/images/*` through the real gateway: pictures as data and as links, previews, forms, refusals in its own way."""

import base64
import json
import struct

import httpx
import pytest
from openai.types import (
    ImageEditCompletedEvent,
    ImageEditPartialImageEvent,
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
    ImagesResponse,
)

from shim.http import answering
from shim.standin.png import picture

MAKE, EDIT, VARY = "/v1/images/generations", "/v1/images/edits", "/v1/images/variations"
KINDS = {
    "image_generation.partial_image": ImageGenPartialImageEvent,
    "image_generation.completed": ImageGenCompletedEvent,
    "image_edit.partial_image": ImageEditPartialImageEvent,
    "image_edit.completed": ImageEditCompletedEvent,
}
SIZE = "48x32"  # of all pictures that the stand-in makes


@pytest.fixture
def bearer(make_account):
    return {"authorization": f"Bearer {make_account('painter')}"}


@pytest.fixture
def make(gateway, bearer):
    def run(prompt="a cat [[script=image_gen]]", path=MAKE, **more):
        return gateway.post(path, {"prompt": prompt, **more}, **bearer)

    return run


@pytest.fixture
def send(gateway, bearer):
    def run(path, files, **fields):
        url = gateway.base_url + path
        return httpx.post(url, files=files, data=fields, headers=bearer, trust_env=False, timeout=60)

    return run


@pytest.fixture
def png(make_account):
    import random

    return picture(8, 8, random.Random(1))


def is_png(data):
    content = base64.b64decode(data, validate=True)
    return content.startswith(b"\x89PNG") and struct.unpack(">II", content[16:24]) == (48, 32)


def events_of(answer):
    *blocks, rest = answer.text.split("\n\n")
    assert rest == ""
    events = []
    for block in blocks:
        if not block.startswith(":"):
            name, data = block.split("\n")
            event = json.loads(data.removeprefix("data: "))
            assert event["type"] == name.removeprefix("event: ")
            events.append(event)
    return events


def test_a_picture_as_data(make):
    answer = make(model="gpt-image-1")
    assert answer.status_code == 200
    made = ImagesResponse.model_validate(answer.json(), strict=True)
    (image,) = made.data
    assert is_png(image.b64_json)
    assert image.url is None
    assert image.revised_prompt == "a cat"
    assert (made.size, made.output_format, made.background, made.quality) == (SIZE, "png", None, None)
    assert made.usage.input_tokens == made.usage.input_tokens_details.text_tokens > 0
    assert made.usage.total_tokens == made.usage.input_tokens + made.usage.output_tokens


@pytest.mark.parametrize("asked", [{"model": "dall-e-3"}, {"model": "gpt-image-1", "response_format": "url"}])
def test_a_picture_as_a_link(make, gateway, asked):
    answer = make(**asked)
    made = ImagesResponse.model_validate(answer.json(), strict=True)
    (image,) = made.data
    assert image.b64_json is None
    assert image.url.startswith(f"{gateway.base_url}/files/")
    got = httpx.get(image.url, trust_env=False)
    assert got.status_code == 200
    assert is_png(base64.b64encode(got.content))
    assert made.size == SIZE
    assert made.output_format is None  # nobody has looked at its bytes


def test_several_pictures(make):
    assert [is_png(one["b64_json"]) for one in make(n=3).json()["data"]] == [True] * 3
    assert len(make("cats [[script=image_many]]").json()["data"]) == 1  # one was asked for, two came


def test_a_picture_that_comes_later(start_gateway, upstream, bearer):
    """The stream ends with a promise, and the kept chat has the picture."""
    keeper = start_gateway(CHATGPT_BASE_URL=upstream.base_url, HISTORY_DISABLED="false")
    answer = keeper.post(MAKE, {"prompt": "a cat [[script=image_async polls=1]]"}, **bearer)
    assert is_png(answer.json()["data"][0]["b64_json"])


def test_a_stream_has_previews_and_the_picture(make):
    events = events_of(make(stream=True, partial_images=2))
    for event in events:
        KINDS[event["type"]].model_validate(event, strict=True)
        assert is_png(event["b64_json"])
        assert (event["size"], event["output_format"]) == (SIZE, "png")
    *partial, completed = events
    assert [one["type"] for one in partial] == ["image_generation.partial_image"] * 2
    assert [one["partial_image_index"] for one in partial] == [0, 1]
    assert len({one["b64_json"] for one in events}) == 3
    assert completed["type"] == "image_generation.completed"
    assert completed["usage"]["input_tokens"] > 0


@pytest.mark.parametrize(("asked", "partial"), [({}, 0), ({"partial_images": 0}, 0), ({"partial_images": 1}, 1)])
def test_no_more_previews_than_were_asked_for(make, asked, partial):
    names = [one["type"] for one in events_of(make(stream=True, **asked))]
    assert names == ["image_generation.partial_image"] * partial + ["image_generation.completed"]


def test_each_picture_of_a_stream_is_completed(make):
    names = [one["type"] for one in events_of(make(stream=True, n=2))]
    assert names == ["image_generation.completed"] * 2


@pytest.mark.parametrize(
    ("prompt", "status", "kind", "code"),
    [
        ("[[script=image_refused]]", 400, "image_generation_user_error", "no_image"),
        ("[[script=image_failed]]", 502, "upstream_error", "image_generation_failed"),
        ("[[failure=content_policy]]", 400, "image_generation_user_error", "moderation_blocked"),
        ("[[script=moderation_blocked]]", 400, "image_generation_user_error", "moderation_blocked"),
        ("[[status=429 clears_in=77]]", 429, "rate_limit_error", None),
        ("[[status=401]]", 401, "authentication_error", None),
        ("[[script=error]]", 502, "upstream_error", None),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_gives_no_picture_is_told_why(make, prompt, status, kind, code, stream):
    answer = make(f"a cat {prompt}", stream=stream)
    if answer.status_code == 200 and stream:
        *before, last = events_of(answer)
        assert before == []
        assert last["type"] == "error"
        error = last["error"]
    else:
        assert answer.status_code == status
        error = answer.json()["error"]
    assert error["type"] == kind
    assert code in {None, error["code"]}


def test_a_refusal_in_words_has_the_words(make):
    from shim.standin.wording import PICTURE_REFUSED

    assert PICTURE_REFUSED[:40] in make("a cat [[script=image_refused]]").json()["error"]["message"]


BAD = [
    ({"prompt": ""}, "prompt"),
    ({"n": 0}, "n"),
    ({"n": 11}, "n"),
    ({"n": "two"}, "n"),
    ({"size": "big"}, "size"),
    ({"response_format": "png"}, "response_format"),
    ({"partial_images": 4, "stream": True}, "partial_images"),
    ({"partial_images": 1}, "partial_images"),
    ({"background": "blue"}, "background"),
    ({"stream": True, "response_format": "url"}, "response_format"),
]


@pytest.mark.parametrize(("asked", "param"), BAD)
def test_a_wrong_field_is_named(make, asked, param):
    answer = make(**{"prompt": "a cat"} | asked)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_what_is_ignored_is_said(make):
    answer = make(quality="high", output_format="webp", moderation="low", style="vivid", size="1024x1024")
    assert answer.headers["x-chat2api-ignored"] == "moderation, output_format, quality, style"
    assert answer.json()["output_format"] == "png"
    assert "x-chat2api-ignored" not in make(quality="auto", output_format="png", moderation="auto", user="u").headers


def test_an_edit_by_form(send, png):
    files = [("image[]", ("a.png", png, "image/png")), ("image[]", ("b.png", png + b"\0", "image/png"))]
    answer = send(EDIT, [*files, ("mask", ("m.png", png, "image/png"))], prompt="bluer [[script=image_gen]]", n="2")
    assert answer.status_code == 200, answer.text
    made = ImagesResponse.model_validate(answer.json(), strict=True)
    assert [is_png(one.b64_json) for one in made.data] == [True] * 2
    assert made.usage.input_tokens_details.image_tokens > 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input_fidelity", "middling"),
        ("moderation", "none"),
        ("output_compression", 101),
        ("output_format", "bmp"),
        ("quality", "best"),
        ("style", 5),
    ],
)
def test_what_has_no_effect_has_to_be_a_value_of_the_published_schema(make, send, png, field, value):
    refused = make(**{field: value})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)
    if field != "style":  # of a form all is text
        refused = send(EDIT, {"image": ("a.png", png)}, prompt="b", **{field: str(value)})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)


def test_an_edit_by_json(make, png):
    url = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    asked = {"images": [{"image_url": url}], "mask": {"image_url": url}}
    answer = make("bluer [[script=image_gen]]", EDIT, **asked, stream=True, partial_images=1)
    events = events_of(answer)
    assert [one["type"] for one in events] == ["image_edit.partial_image", "image_edit.completed"]
    for event in events:
        KINDS[event["type"]].model_validate(event, strict=True)
    by_id = make("bluer", EDIT, images=[{"file_id": "file-1"}])
    assert (by_id.status_code, by_id.json()["error"]["param"]) == (404, "images[0].file_id")
    by_nothing = make("bluer", EDIT, images=[{}])
    assert (by_nothing.status_code, by_nothing.json()["error"]["param"]) == (400, "images[0]")


def test_a_streamed_edit_by_form(send, png):
    answer = send(EDIT, {"image": ("a.png", png)}, prompt="b [[script=image_gen]]", stream="true", partial_images="2")
    assert [one["type"] for one in events_of(answer)][-1] == "image_edit.completed"


def test_a_variation(send, png):
    answer = send(VARY, {"image": ("a.png", png, "image/png")}, model="dall-e-2", size="256x256")
    assert answer.status_code == 200, answer.text
    assert ImagesResponse.model_validate(answer.json(), strict=True).data[0].url


def test_a_variation_as_json(make, png):
    data = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    answer = make(None, VARY, image={"image_url": data}, model="dall-e-2")
    assert (answer.status_code, answer.json()["data"][0]["url"][:4]) == (200, "http")
    missing = make(None, VARY, model="dall-e-2")
    assert (missing.status_code, missing.json()["error"]["param"]) == (400, "image")
    nothing = make(None, VARY, image={})
    assert (nothing.status_code, nothing.json()["error"]["param"]) == (400, "image")


def test_a_form_has_one_picture_to_vary(gateway, bearer, png):
    twice = [("image", ("a.png", png, "image/png")), ("image", ("b.png", png, "image/png"))]
    answer = httpx.post(gateway.base_url + VARY, files=twice, headers=bearer, trust_env=False)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "image")


@pytest.mark.parametrize("path", [EDIT, VARY])
def test_forms_that_are_wrong(send, gateway, bearer, png, path):
    def refused(answer, param):
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text

    fields = {"prompt": "b"} if path == EDIT else {}
    refused(
        send(path, {"image": ("a.png", b"no picture", "image/png")}, **fields), "images[0]" if path == EDIT else "image"
    )
    refused(send(path, {"other": ("a.png", png, "image/png")}, **fields), "other")
    refused(send(path, {"n": (None, "2")}, **fields), "image")
    refused(send(path, {"image": ("a.png", png)}, n="many", **fields), "n")
    for kind, body in (
        ("multipart/form-data; boundary=x", b"rubbish"),
        ("multipart/form-data", png),
        ("text/plain", b"x"),
    ):
        headers = bearer | {"content-type": kind}
        answer = httpx.post(gateway.base_url + path, content=body, headers=headers, trust_env=False)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_pictures_need_an_account(gateway, upstream, png):
    """Nothing is asked of upstream: it makes none without one, and its files could not be had."""
    made = gateway.post(MAKE, {"prompt": "a cat"})
    varied = httpx.post(gateway.base_url + VARY, files={"image": ("a.png", png)}, trust_env=False, timeout=60)
    for answer in (made, varied):
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "account_needed")
    assert upstream.get("/standin/stats").json()["turns"] == {}


@pytest.mark.parametrize("fails", [False, True])
def test_a_whole_answer_that_takes_long_begins_early(make, monkeypatch, fails):
    monkeypatch.setattr(answering, "SLOW_SECONDS", 0.001)
    answer = make("a cat [[script=image_refused]]" if fails else "a cat [[script=image_gen]]")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.content.startswith(b" {")
    if fails:
        assert answer.json()["error"]["code"] == "no_image"
    else:
        assert is_png(answer.json()["data"][0]["b64_json"])


def test_one_that_does_not_is_no_stream(make):
    answer = make()
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert "cache-control" not in answer.headers
    assert answer.content.startswith(b"{")
