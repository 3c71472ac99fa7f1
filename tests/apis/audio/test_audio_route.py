"""`/v1/audio/*` through the real gateway: sound, transcripts, translations, and what is refused by name."""

import base64
import io
import json
import time
import wave

import httpx
import pytest
from openai.types.audio import Transcription, TranscriptionVerbose, Translation, TranslationVerbose
from openai.types.audio.transcription_text_delta_event import TranscriptionTextDeltaEvent
from openai.types.audio.transcription_text_done_event import TranscriptionTextDoneEvent

from shim.apis.audio.read import FORMATS, VOICES
from shim.standin.sound import recording

SPEAK, WRITE, TRANSLATE = "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/audio/translations"
TEXT = "three short words"
MP3 = recording("hello", "mp3").content
HEARD = "The chat2api demo upstream received talk.mp3, 834 bytes, language "


@pytest.fixture
def bearer(make_account):
    return {"authorization": f"Bearer {make_account('speaker')}"}


@pytest.fixture
def speak(gateway, bearer):
    def run(text=TEXT, headers=bearer, **more):
        return gateway.post(SPEAK, {"model": "tts-1", "input": text, "voice": "alloy"} | more, **headers)

    return run


@pytest.fixture
def send(gateway, bearer):
    def run(path, content=MP3, name="talk.mp3", headers=bearer, **fields):
        files = {"file": (name, content)} if content is not None else {"x": (None, "y")}
        data = {"model": "whisper-1"} | fields
        return httpx.post(gateway.base_url + path, files=files, data=data, headers=headers, trust_env=False, timeout=60)

    return run


def wait_until(check, seconds=60):
    until = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < until
        time.sleep(0.01)


def chats_of(upstream, bearer):
    answer = httpx.get(upstream.base_url + "/backend-api/conversations", headers=bearer, trust_env=False)
    return answer.json()["items"]


def data_of(answer):
    *lines, rest = answer.text.split("\n\n")
    assert rest == ""
    return [json.loads(line.removeprefix("data: ")) for line in lines]


@pytest.mark.parametrize(("kind", "media_type"), [("mp3", "audio/mpeg"), ("aac", "audio/aac"), ("opus", "audio/ogg")])
def test_a_text_is_read_aloud(speak, kind, media_type):
    answer = speak(response_format=kind)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == media_type
    assert answer.content == recording(TEXT, kind).content
    assert "deleted" in answer.headers["x-chat2api-chat"]


@pytest.mark.parametrize("path", [WRITE, TRANSLATE])
def test_the_type_of_a_text_names_its_charset_once(send, path):
    assert send(path, response_format="text").headers["content-type"] == "text/plain; charset=utf-8"


def test_the_type_of_a_stream_names_its_charset_once(send):
    assert send(WRITE, stream="true").headers["content-type"] == "text/event-stream; charset=utf-8"


def test_the_chat_is_deleted(speak, upstream, bearer):
    assert speak().status_code == 200
    wait_until(lambda: chats_of(upstream, bearer) == [])
    assert upstream.get("/standin/stats").json()["turns"] != {}  # there was one


def test_mp3_is_what_is_given_unasked(speak):
    assert speak().content == recording(TEXT, "mp3").content


@pytest.mark.parametrize("voice", [*VOICES, "orbit"])
def test_every_voice_is_one_of_upstreams(speak, voice):
    assert speak(voice=voice).status_code == 200


def test_speech_as_events(speak):
    *deltas, done = data_of(speak(stream_format="sse", model="gpt-4o-mini-tts"))
    assert {one["type"] for one in deltas} == {"speech.audio.delta"}
    assert b"".join(base64.b64decode(one["audio"]) for one in deltas) == recording(TEXT, "mp3").content
    assert done["type"] == "speech.audio.done"
    assert done["usage"] == {"input_tokens": 3, "output_tokens": 0, "total_tokens": 3}


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"response_format": "wav"}, "response_format"),
        ({"response_format": "flac"}, "response_format"),
        ({"response_format": "pcm"}, "response_format"),
        ({"response_format": "midi"}, "response_format"),
        ({"voice": "nobody"}, "voice"),
        ({"voice": {"id": "voice_1"}}, "voice"),
        ({"input": ""}, "input"),
        ({"input": "x" * 4097}, "input"),
        ({"speed": 9}, "speed"),
        ({"stream_format": "zip"}, "stream_format"),
    ],
)
def test_what_speech_can_not_be_is_named(speak, asked, param):
    answer = speak(**asked)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_what_has_no_effect_on_speech_is_said(speak):
    assert speak(speed=2, instructions="whisper").headers["x-chat2api-ignored"] == "instructions, speed"
    assert "x-chat2api-ignored" not in speak(speed=1.0).headers


def test_sound_behind_a_link(gateway, upstream, make_account):
    headers = {"authorization": f"Bearer {make_account('linker', speech='link')}"}
    answer = gateway.post(
        SPEAK, {"model": "tts-1", "input": TEXT, "voice": "nova", "response_format": "aac"}, **headers
    )
    assert answer.content == recording(TEXT, "aac").content


@pytest.mark.parametrize(("status", "told"), [(429, 429), (503, 502), (401, 401)])
def test_upstreams_failures_of_speech(gateway, upstream, make_account, status, told):
    failures = [{"where": "speech", "status": status}] * 9
    headers = {"authorization": f"Bearer {make_account('failing', failures=failures)}"}
    answer = gateway.post(SPEAK, {"model": "tts-1", "input": TEXT, "voice": "nova"}, **headers)
    assert answer.status_code == told
    assert answer.json()["error"]["message"]
    wait_until(lambda: chats_of(upstream, headers) == [])


@pytest.mark.parametrize("path", [SPEAK, WRITE, TRANSLATE])
def test_without_an_account_it_is_refused_clearly(speak, send, path):
    answer = speak(headers={}) if path == SPEAK else send(path, headers={})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "account_needed")
    assert "account" in answer.json()["error"]["message"]


# --- recordings -------------------------------------------------------------------------------------------------------


def test_a_recording_is_written_down(send):
    answer = send(WRITE, language="nl")
    assert Transcription.model_validate(answer.json(), strict=True).text == HEARD + "nl."
    assert send(WRITE, response_format="text").text == HEARD + "unknown.\n"
    verbose = TranscriptionVerbose.model_validate(send(WRITE, response_format="verbose_json").json(), strict=True)
    assert (verbose.text, verbose.language, verbose.duration) == (HEARD + "unknown.", "unknown", 0.0)


def test_how_long_a_wav_is(send):
    held = io.BytesIO()
    with wave.open(held, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(24_000))
    answer = send(WRITE, held.getvalue(), "talk.wav", response_format="verbose_json", language="en").json()
    assert (answer["duration"], answer["language"]) == (1.5, "en")
    assert answer["usage"] == {"type": "duration", "seconds": 1.5}


def test_how_long_a_damaged_wav_is_nobody_knows(send):
    held = io.BytesIO()
    with wave.open(held, "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(240))
    damaged = held.getvalue()[:16] + b"\0\0\0\x7f" + held.getvalue()[20:]  # its first part would be 2 GB
    assert send(WRITE, damaged, "talk.wav", response_format="verbose_json").status_code == 200


def test_plain_text_from_upstream_is_taken_too(gateway, make_account, send):
    headers = {"authorization": f"Bearer {make_account('plain', transcript='text')}"}
    assert send(WRITE, headers=headers).json()["text"] == HEARD + "unknown."


def test_a_transcript_as_events(send):
    answer = send(WRITE, stream="true")
    assert answer.headers["content-type"].startswith("text/event-stream")
    delta, done = data_of(answer)
    assert TranscriptionTextDeltaEvent.model_validate(delta, strict=True).delta == HEARD + "unknown."
    assert TranscriptionTextDoneEvent.model_validate(done, strict=True).text == HEARD + "unknown."


def test_a_translation_is_a_second_step(send):
    answer = send(TRANSLATE)
    text = Translation.model_validate(answer.json(), strict=True).text
    assert text
    assert text != HEARD + "unknown."  # a model has answered, here the demo's
    verbose = send(TRANSLATE, response_format="verbose_json").json()
    assert TranslationVerbose.model_validate(verbose, strict=True).language == "english"
    plain = send(TRANSLATE, response_format="text")
    assert plain.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize("path", [WRITE, TRANSLATE])
@pytest.mark.parametrize("kind", ["srt", "vtt", "diarized_json", "yaml"])
def test_formats_with_times_are_refused(send, path, kind):
    answer = send(path, response_format=kind)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "response_format")


@pytest.mark.parametrize("path", [WRITE, TRANSLATE])
def test_forms_that_are_wrong(send, gateway, bearer, path):
    for answer, param in (
        (send(path, None), "file"),
        (send(path, b""), "file"),
        (send(path, b"words", "a.txt"), "file"),
        (send(path, b"%PDF-1.7", "a.mp3"), "file"),
        (send(path, name='a\r\nb".mp3', model=b"\xff"), "model"),
    ):
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    for kind in ("application/json", "multipart/form-data; boundary=x"):
        headers = bearer | {"content-type": kind}
        answer = httpx.post(gateway.base_url + path, content=b"{}", headers=headers, trust_env=False)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_request_error")


def test_what_has_no_effect_on_a_transcript_is_said(send):
    told = {"prompt": "names", "temperature": "0.2", "timestamp_granularities[]": "word"}
    assert send(WRITE, **told).headers["x-chat2api-ignored"] == "prompt, temperature, timestamp_granularities"
    assert "x-chat2api-ignored" not in send(WRITE, temperature="0", prompt="").headers
    assert send(TRANSLATE, language="en").headers["x-chat2api-ignored"] == "language"


def test_what_has_no_effect_has_to_be_a_value_of_the_published_schema(speak, send):
    for answer, param in ((speak(instructions=5), "instructions"), (send(WRITE, temperature="2"), "temperature")):
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_a_language_that_is_none(send):
    assert send(WRITE, language="klingon!").json()["error"]["param"] == "language"


@pytest.mark.parametrize(("status", "told"), [(429, 429), (503, 502), (413, 400), (400, 400)])
def test_upstreams_failures_of_a_transcript(send, make_account, status, told):
    failures = [{"where": "transcript", "status": status}] * 9
    headers = {"authorization": f"Bearer {make_account('failing', failures=failures)}"}
    assert send(WRITE, headers=headers).status_code == told


def test_the_formats_are_what_the_page_says():
    assert FORMATS == ("mp3", "aac", "opus")


@pytest.mark.parametrize("api", ["speech", "transcription", "translation"])
def test_each_call_leaves_one_line_in_the_log(gateway, speak, send, api):
    ask = {"speech": speak, "transcription": lambda: send(WRITE), "translation": lambda: send(TRANSLATE)}[api]
    refused = {"speech": lambda: speak(voice="nobody"), "transcription": lambda: send(WRITE, content=None)}
    seen = len(gateway.log)

    def lines():
        return [line for line in gateway.log[seen:].splitlines() if f" api={api} " in line]

    answer = ask()
    assert answer.status_code == 200
    assert answer.read()
    wait_until(lines)
    (line,) = lines()
    assert f"{answer.headers['x-request-id']} " in line
    assert " key=own " in line
    assert " code=200 " in line
    assert TEXT not in line
    if api in refused:
        assert refused[api]().status_code == 400
        wait_until(lambda: len(lines()) > 1)
        assert " code=400 " in lines()[1]
