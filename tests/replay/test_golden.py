"""Every cassette through the core alone and through the app: each tells clients what the golden file says.

A golden holds the answers to all turns of its cassette. In `NAME.sse` each begins with comments about its head; in
`NAME.json` the bodies are those of whole answers, laid out over lines. Those of chat lie in the folder itself, those of
each other API in one of its name. `pytest --update-golden` writes them anew from
what the app says, and the rest is still compared with that.
"""

from pathlib import Path

import msgspec
import pytest

from shim import apis

SUFFIX = {True: ".sse", False: ".json"}
# APIs without goldens, and why. What they say of words, errors and refusals stands in tests/apis.
WITHOUT = {
    "images": "no cassette was asked for a picture, so that each would be the same refusal",
    "audio": "no cassette has a call of upstream's for sound",
}


def as_sse(answers):
    return b"".join(head_of(place, told) + told.body.rstrip(b"\n") + b"\n\n" for place, told in enumerate(answers, 1))


def head_of(place, told):
    named = "".join(f", {name}: {value}" for name, value in told.decided.items())
    return f": answer {place}, status {told.status}{named}\n\n".encode()


def as_json(answers):
    """Laid out over lines, in which every value stays as it was written."""
    shown = [{"status": told.status, **told.decided, "body": msgspec.Raw(told.body)} for told in answers]
    return msgspec.json.format(msgspec.json.encode(shown), indent=1) + b"\n"


def shown(answers, streamed):
    return as_sse(answers) if streamed else as_json(answers)


def write(path, content):
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(content)


def read(path):
    assert path.exists(), f"{path.name} is missing: run pytest --update-golden, and read what it wrote"
    return path.read_bytes()


@pytest.fixture
def golden(name, streamed, players, app_told, request):
    """`await golden()`: the golden file's bytes, written anew before where that is asked for."""
    path = Path(players.golden / f"{name}{SUFFIX[streamed]}")

    async def make():
        if request.config.getoption("update_golden"):
            write(path, shown(await app_told(), streamed))
        return read(path)

    return make


async def test_the_app_tells_what_the_golden_says(streamed, app_told, golden):
    assert shown(await app_told(), streamed).decode() == (await golden()).decode()


async def test_the_core_tells_what_the_golden_says(cassette, streamed, players, golden, app_told):
    told = players.by_core(cassette, streamed=streamed)
    assert shown(told, streamed).decode() == (await golden()).decode()
    assert [one.body for one in told] == [one.body for one in await app_told()]


async def test_other_apis_tell_what_their_golden_says(api, name, streamed, cassette, players, drivers, request):
    """By the app, and by the core alone."""
    told = await drivers.by_app(cassette, streamed=streamed, api=api)
    path = Path(players.golden / api / f"{name}{SUFFIX[streamed]}")
    if request.config.getoption("update_golden"):
        write(path, shown(told, streamed))
    assert shown(told, streamed).decode() == read(path).decode()
    assert [one.body for one in players.by_core(cassette, streamed=streamed, api=api)] == [one.body for one in told]


def test_every_api_has_goldens_or_a_reason_that_holds(players):
    # Those that answer from a turn, or from sound; the others list, keep or pass on.
    folders = {path.parent.name for path in Path(apis.__file__).parent.glob("*/write.py")} - {"files"}
    assert folders == {*players.spoken, *WITHOUT}
    for name in players.names:
        for one in players.load(name).interactions:
            assert "picture_v2" not in str(one.request.body), name
            assert not one.request.path.endswith(("/synthesize", "/transcribe")), name


def test_every_golden_belongs_to_a_cassette(players, request):
    folders = [players.golden, *(players.golden / api for api in players.spoken if api != "chat")]
    assert {path for path in players.golden.iterdir() if path.is_dir()} == {*folders[1:]}
    wanted = {f"{name}{suffix}" for name in players.names for suffix in SUFFIX.values()}
    for folder in folders:
        there = {path.name for path in folder.iterdir() if path.is_file()}
        if request.config.getoption("update_golden"):
            for name in there - wanted:
                (folder / name).unlink()
            there &= wanted
        assert there - wanted == set(), f"no cassette has this name ({folder.name})"
