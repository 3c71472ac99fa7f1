"""What was heard becomes a file: tapes and their bound, codings, the writer, HAR files, comparison, the commands."""

import base64
import codecs
import gzip
import json
import zlib
from itertools import pairwise

import pytest
from click.testing import CliRunner

from shim.cassettes.background_writer import BackgroundWriter
from shim.cassettes.comparing import compare
from shim.cassettes.flows import MissingError, read_flows
from shim.cassettes.format import Cassette, CassetteError, CassetteWriter, dump_cassette, load_cassette, load_cassettes
from shim.cassettes.har import read_har
from shim.cassettes.recording import BodyCapture, cassette_of
from shim.cli.main import main
from shim.transport.codings import CodingError, decoder_of

TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1c2VyLUJvYjEyMzQ1Njc4In0.c2lnbmF0dXJl"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "raw deflate", ""])
def test_a_coded_body_is_decoded_piece_by_piece(coding):
    body = b"".join(b"data: %d\n\n" % number for number in range(200))
    raw = zlib.compressobj(wbits=-15)
    coded = {
        "gzip": gzip.compress(body),
        "deflate": zlib.compress(body),
        "raw deflate": raw.compress(body) + raw.flush(),
        "": body,
    }[coding]
    capture = BodyCapture(coding.rpartition(" ")[2])
    for at in range(0, len(coded), 50):
        capture.receive(at / 1000, coded[at : at + 50])
    assert b"".join(piece for _, piece in capture.chunks) == body
    assert len(capture.chunks) > 1
    assert capture.kept == "all"


def test_what_can_not_be_decoded_is_not_kept():
    assert BodyCapture("sdch").kept == "none"
    capture = BodyCapture("gzip")
    capture.receive(0.0, b"data: no gzip at all")
    assert (capture.kept, capture.chunks) == ("head", [])
    with pytest.raises(CodingError):
        decoder_of("sdch")


def test_a_body_beyond_the_limit_ends_behind_its_last_whole_event():
    capture = BodyCapture(limit=100)
    for number in range(1000):
        capture.receive(number * 0.01, b"data: %4d\n" % number)
        capture.receive(number * 0.01, b"\n")
    assert capture.kept == "head"
    assert sum(len(piece) for _, piece in capture.chunks) <= 100
    body = b"".join(piece for _, piece in capture.whole_events())
    assert body.endswith(b"\n\n")
    assert body.count(b"data") == 8


def test_a_long_body_beyond_the_limit_costs_no_memory():
    import tracemalloc

    capture = BodyCapture(limit=64 * 1024)
    tracemalloc.start()
    for _ in range(2000):
        capture.receive(0.0, bytes(16 * 1024))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1024 * 1024


def test_the_file_is_whole_after_every_call(tmp_path, heard):
    calls = cassette_of(
        [heard(f"/backend-api/models?limit={n}", b"{}", b"data: %d\n\n" % n) for n in range(3)]
    ).interactions
    path = tmp_path / "deep" / "one.json"
    writer = CassetteWriter(path, redacted=True)
    for count, one in enumerate(calls, 1):
        writer.add(one)
        assert load_cassette(path) == Cassette(calls[:count], redacted=True)
    assert path.read_bytes() == dump_cassette(Cassette(calls, redacted=True))
    assert path.stat().st_mode & 0o077 == 0


def test_the_writer_works_beside_the_traffic_and_survives_a_full_disk(tmp_path, heard, caplog):
    writer = BackgroundWriter(tmp_path / "one.json")
    for n in range(20):
        writer.write(heard("/backend-api/me", b'{"secret": "%s"}' % TOKEN.encode(), b"data: %d\n\n" % n))
    assert writer.close() == f"recorded 20 calls in {tmp_path / 'one.json'}"
    assert len(load_cassette(tmp_path / "one.json").interactions) == 20
    assert TOKEN not in (tmp_path / "one.json").read_text()
    (tmp_path / "file").write_text("")
    broken = BackgroundWriter(tmp_path / "file" / "one.json")
    broken.write(heard("/backend-api/me", TOKEN.encode()))
    assert broken.close() == "recorded nothing: no call of ChatGPT's API ended here, 1 left out"
    assert "could not be written" in caplog.text
    assert TOKEN not in caplog.text


def har(tmp_path, *entries):
    path = tmp_path / "saved.har"
    path.write_text(json.dumps({"log": {"version": "1.2", "entries": entries}}))
    return path


def entry(url="https://chatgpt.com/backend-api/me", text="{}", encoding="", **more):
    content = {"text": text, "mimeType": "application/json", "encoding": encoding, "size": len(text)}
    pairs = [{"name": "Authorization", "value": f"Bearer {TOKEN}"}, {"name": ":path", "value": "/x"}]
    request = {
        "method": "POST",
        "url": url,
        "headers": pairs,
        "postData": {"mimeType": "application/json", "text": text},
    }
    return {
        "request": request,
        "response": {"status": 200, "headers": [], "content": content},
        "timings": {"receive": 250.0},
    } | more


def test_a_har_becomes_a_cassette(tmp_path):
    secret = json.dumps({"access_token": TOKEN, "type": "kept"})
    coded = base64.b64encode(secret.encode()).decode()
    path = har(
        tmp_path, entry(text=secret), entry(text=coded, encoding="base64"), entry("https://chatgpt.com/logo.png")
    )
    cassette = cassette_of(read_har(path))
    assert TOKEN not in dump_cassette(cassette).decode()
    first, second = cassette.interactions
    assert first.title == "POST /backend-api/me"
    assert first.response.headers["content-type"] == "application/json"
    assert first.response.body() == second.response.body()
    assert json.loads(first.response.body())["type"] == "kept"
    assert first.response.chunks[0].at == 0.25
    with pytest.raises(CassetteError, match=r"bad\.har"):
        list(read_har(bad(tmp_path, "bad.har")))


ELSEWHERE = "https://elsewhere.example/x"


@pytest.mark.parametrize(
    "other",
    [
        entry(ELSEWHERE, response=None),
        {"request": entry(ELSEWHERE)["request"]},
        entry(ELSEWHERE, request={"url": None}),
        entry(ELSEWHERE, request={"url": ELSEWHERE, "headers": 1}),
        entry(response=None),  # an API call that was cancelled
        entry(response={"status": 0}),
        {"request": entry()["request"]},
        None,
    ],
)
def test_what_is_wrong_with_an_entry_that_does_not_matter_does_not_matter(tmp_path, other):
    (call,) = read_har(har(tmp_path, other, entry(text="hello")))
    assert call.body == b"hello"


def test_a_har_of_other_tools_is_read(tmp_path):
    sparse = entry(timings=None, request=entry()["request"] | {"headers": [{"name": "a", "value": None}]})
    path = har(tmp_path, sparse, entry(text="half an emoji: \ud83d"))
    path.write_bytes(codecs.BOM_UTF8 + path.read_bytes())
    sparse_call, half = read_har(path)
    assert ("a", "") in sparse_call.headers
    assert half.body.decode() == "half an emoji: \N{REPLACEMENT CHARACTER}"


def test_content_that_is_not_the_base64_it_says_is_told(tmp_path):
    with pytest.raises(CassetteError, match=r"saved\.har, entry 1: .*base64"):
        list(read_har(har(tmp_path, entry(), entry(text="no base64!", encoding="base64"))))


def bad(tmp_path, name):
    path = tmp_path / name
    path.write_text('{"log": 3}')
    return path


def test_two_recordings_differ_in_what_is_different(heard):
    event = b'data: {"create_time": %d, "id": "91be2e50-7a5c-495a-9ca3-4eff32d746d%d", "error_code": "%s"}\n\n'
    old = cassette_of([heard("/backend-api/me", b'{"model": "a"}', event % (1, 1, b"a"))])
    same = cassette_of(
        [heard("/backend-api/me", b'{"model": "a"}', (event % (2, 2, b"a"))[:9], (event % (2, 2, b"a"))[9:])]
    )
    assert list(compare(old, same)) == []
    new = cassette_of(
        [heard("/backend-api/me", b'{"model": "b"}', event % (1, 1, b"b"), status=403), heard("/backend-api/models")]
    )
    found = [(one.where, one.what, one.old, one.new) for one in compare(old, new)]
    where = "POST /backend-api/me"
    assert found == [
        (where, "status", "200", "403"),
        (where, "request.model", '"a"', '"b"'),
        (where, "event[0].error_code", '"a"', '"b"'),
        ("POST /backend-api/models", "call", None, "POST /backend-api/models"),
    ]


@pytest.fixture
def tape(tmp_path, heard):
    path = tmp_path / "tape.json"
    path.write_bytes(
        dump_cassette(cassette_of([heard("/backend-api/me", b'{"model": "a"}', b"data: one\n\n", b"data: [DONE]\n\n")]))
    )
    return path


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_show_shows_calls_and_bodies(tape):
    shown = run("cassette", "show", tape)
    assert shown.exit_code == 0
    for word in ("POST /backend-api/me", "200", '"model": "a"', "data: [DONE]"):
        assert word in shown.output


def test_diff_says_what_and_ends_with_one(tape, tmp_path):
    assert run("cassette", "diff", tape, tape).exit_code == 0
    other = tmp_path / "other.json"
    other.write_text(tape.read_text().replace('"status": 200', '"status": 500'))
    found = run("cassette", "diff", tape, other)
    assert found.exit_code == 1
    assert found.output.split() == ["POST", "/backend-api/me", "status", "-", "200", "+", "500"]


def test_scrub_takes_what_was_put_in_by_hand(tape):
    before = tape.read_bytes()
    assert run("cassette", "scrub", tape).exit_code == 0
    assert tape.read_bytes() == before
    tape.write_text(tape.read_text().replace("data: one", f"data: {TOKEN}"))
    assert run("cassette", "scrub", tape).exit_code == 0
    assert TOKEN not in tape.read_text()


def test_from_har_and_from_flows_write_cassettes_or_say_why_not(tmp_path):
    made = tmp_path / "made" / "har.json"
    assert run("cassette", "from-har", har(tmp_path, entry()), "--out", made).exit_code == 0
    assert len(load_cassettes(made.parent)) == 1
    with pytest.raises(MissingError, match="scripts/setup mitmproxy"):
        list(read_flows(made))
    refused = run("cassette", "from-flows", made, "--out", made)
    assert refused.exit_code == 1
    assert "mitmproxy is not installed" in refused.output


@pytest.mark.parametrize("more", [(), ("--listen-host", "0.0.0.0")])
def test_recording_listens_on_this_machine_unless_told_otherwise(monkeypatch, tmp_path, more):
    """mitmproxy's own default is every address. Of two hosts it takes the last."""
    place = tmp_path / ".venv-mitmproxy" / "bin" / "mitmdump"
    place.parent.mkdir(parents=True)
    place.touch()
    monkeypatch.setattr("shim.cli.cassettes.PROJECT", tmp_path)
    started = []
    monkeypatch.setattr("os.execv", lambda program, arguments: started.append((program, arguments)))
    assert run("record", "--out", tmp_path, "--", *more).exit_code == 0
    ((program, arguments),) = started
    assert program == place
    hosts = [after for word, after in pairwise(arguments) if word == "--listen-host"]
    assert hosts == ["127.0.0.1", *more[1:]]


def test_what_is_missing_for_recording_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr("shim.cli.cassettes.PROJECT", tmp_path)
    refused = run("record")
    assert refused.exit_code == 1
    assert "scripts/setup mitmproxy" in refused.output


def test_replay_of_an_empty_folder_is_refused(tmp_path):
    refused = run("replay", tmp_path)
    assert refused.exit_code == 1
    assert "no cassette" in refused.output
    started = run("serve", "--replay", tmp_path, "--port", "0")
    assert started.exit_code == 1
    assert "REPLAY is" in started.output
