"""What a request for pictures asks of the model: one picture a choice, with its wishes in words."""

import pytest

from shim.apis.images.read import read_edit, read_generation
from shim.errors import RequestError
from shim.protocol.events import Drawing, Failed, FileRef, Finished, Picture, Preview, Started, TextDelta
from shim.protocol.shaping.must_draw import MustDraw


def words_of(asked):
    return {message.role: message.text for message in asked.prompt.messages}


def test_wishes_are_told_in_words():
    asked = read_generation(b'{"prompt": "a cat", "size": "1536x1024", "background": "transparent", "n": 2}')
    told = words_of(asked)
    assert told["user"] == "a cat"
    assert "landscape, 1536 pixels wide and 1024 high" in told["system"]
    assert "transparent" in told["system"]
    assert asked.prompt.limits.choices == 2
    assert asked.prompt.wishes.hints == {"picture"}
    assert (asked.prompt.pictures, asked.ignored) == ("data", [])
    plain = words_of(read_generation(b'{"prompt": "a cat", "size": "auto", "background": "auto"}'))
    assert "pixels" not in plain["system"]


def test_json_is_read_whatever_it_is_called():
    """What curl's `-d` sends is called a form."""
    assert words_of(read_generation(b'{"prompt": "a cat"}', "application/x-www-form-urlencoded"))["user"] == "a cat"
    with pytest.raises(RequestError, match="multipart"):
        read_generation(b"prompt=a+cat", "application/x-www-form-urlencoded")


@pytest.mark.parametrize(
    ("model", "given", "pictures"),
    [
        ("gpt-image-1", "auto", "data"),
        ("dall-e-3", "auto", "links"),
        ("gpt-5", "gpt-5", "data"),
        ("openai/gpt-image-1", "auto", "data"),
    ],
)
def test_names_of_picture_models_are_no_chat_models(model, given, pictures):
    prompt = read_generation(b'{"prompt": "a", "model": "%s"}' % model.encode()).prompt
    assert (prompt.model, prompt.pictures) == (given, pictures)


def test_a_mask_is_the_last_picture_and_told_of():
    body = b'{"prompt": "a", "images": [{"image_url": "https://a.test/1"}], "mask": {"image_url": "data:,x"}}'
    asked = read_edit(body, "application/json")
    assert [(one.form, one.param) for one in asked.prompt.attached] == [("url", "images[0]"), ("data_url", "mask")]
    assert "mask" in words_of(asked)["system"]


def test_strict_refuses_what_is_ignored():
    with pytest.raises(RequestError) as refused:
        read_generation(b'{"prompt": "a", "quality": "high"}', strict=True)
    assert refused.value.param == "quality"


PICTURE = Picture(FileRef(file_id="a"))
START = Started("c", "m", "auto")


@pytest.mark.parametrize("alone", [False, True])
def test_an_answer_has_to_be_a_picture(alone):
    def run(*events):
        one = MustDraw()
        if alone:
            return [given for event in events for given in one.receive([event])]
        return one.receive(list(events))

    good = [START, Drawing(), Preview(FileRef(file_id="b"), 0), PICTURE, TextDelta("Here."), Finished("stop")]
    assert run(*good) == good
    *before, refused = run(START, TextDelta("I can't "), TextDelta("do that."), Finished("stop"), TextDelta("more"))
    assert len(before) == 3
    assert isinstance(refused, Failed)
    assert (refused.error.code, refused.error.http_status) == ("no_image", 400)
    assert refused.error.message.endswith("I can't do that.")
    failed = run(START, Drawing(), TextDelta("It broke."), Finished("stop"))[-1]
    assert (failed.error.code, failed.error.http_status) == ("image_generation_failed", 502)
    assert run(START, Finished("content_filter"))[-1].error.code == "content_policy_violation"
