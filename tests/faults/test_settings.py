"""Settings as people type them: what is meant is understood, and what can't work stops the start in one sentence."""

import codecs
import json
import os
import subprocess
from pathlib import Path

import pytest

from shim.server.checks import CHECKS, listening_address
from shim.settings import SettingError, concerns, load_settings
from tests.faults.faulty import FaultyUpstream, replied
from tests.servers import PYTHON, clean_environment, free_port

NOWHERE = Path(os.devnull)


def load(**settings):
    return load_settings(settings, dotenv=NOWHERE)


MEANT = [
    ("AUTHORIZATION", '"sk-1"', ("sk-1",)),
    ("AUTHORIZATION", "'sk-1,sk-2'", ("sk-1", "sk-2")),
    ("CORS_ORIGINS", "http://localhost:3000/", ("http://localhost:3000",)),
    ("CORS_ORIGINS", "HTTPS://Page.Example:443", ("https://page.example",)),
    ("CORS_ORIGINS", "*", ("*",)),
    ("PUBLIC_BASE_URL", "https://x.example/v1", "https://x.example"),
    ("PUBLIC_BASE_URL", "https://x.example/a/v1/", "https://x.example/a"),
    ("HOST", "[::1]", "::1"),
    ("DATA_DIR", "~/chat2api", str(Path.home() / "chat2api")),
    ("CA_FILE", "~/ca.pem", str(Path.home() / "ca.pem")),
    ("REPLAY", "~", str(Path.home())),
    ("DATA_DIR", "a~b", "a~b"),
]


@pytest.mark.parametrize(("name", "value", "meant"), MEANT)
def test_what_is_meant_is_understood(name, value, meant):
    assert getattr(load(**{name: value}), name.lower()) == meant


def test_a_secrets_file_is_found_at_home_and_read_as_windows_writes_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "keys").write_bytes(codecs.BOM_UTF8 + b"sk-1\r\nsk-2\r\n")
    assert load(AUTHORIZATION_FILE="~/keys").authorization == ("sk-1", "sk-2")


def test_a_prefix_belongs_to_the_public_address():
    assert load(API_PREFIX="p", PUBLIC_BASE_URL="https://x.example").public_base_url == "https://x.example/p"
    assert load(API_PREFIX="p", PUBLIC_BASE_URL="https://x.example/p/v1").public_base_url == "https://x.example/p"


STOPS = [
    ("AUTHORIZATION", "sk-1 # my key"),
    ("AUTHORIZATION", "sk-1;sk-2"),
    ("AUTHORIZATION", "Bearer sk-1"),
    ("AUTHORIZATION", "sk-1\nsk-2"),
    ("AUTHORIZATION", "sk-é"),
    ("AUTHORIZATION", 'sk-"1'),
    ("CORS_ORIGINS", "localhost:3000"),
    ("CORS_ORIGINS", "page.example"),
    ("CORS_ORIGINS", "https://page.example/path"),
    ("PROXY_URL", "http://user:p@ss@host:1"),
    ("PROXY_URL", "http://user:p ss@host:1"),
    ("PROXY_URL", "socks5://user:p@ss@host:1"),
    ("CHATGPT_BASE_URL", "https://chatgpt.com/?model=gpt-4o"),
    ("CHATGPT_BASE_URL", "https://chatgpt.com/#x"),
    ("CHATGPT_BASE_URL", "https://chat gpt.com"),
    ("CHATGPT_BASE_URL", "https://chatgpt.com/backend-api/"),
    ("PUBLIC_BASE_URL", "https://x.example/?a=b"),
    ("USER_AGENT", "a\r\nX-Y: z"),
    ("USER_AGENT", "é"),
    ("CORS_ORIGINS", "https://page example"),
    ("ADMIN_KEY", "one\ntwo"),
    ("DATA_DIR", "state\x00"),
    ("HOST", "127.0.0.1\x00"),
    ("DEFAULT_MODEL", "gpt-5\rx"),
    ("PORT", "5005" * 1000),
]


@pytest.mark.parametrize(("name", "value"), STOPS)
def test_what_can_not_work_stops_the_start_in_one_sentence(name, value):
    with pytest.raises(SettingError) as stopped:
        load(**{name: value})
    assert str(stopped.value).startswith(f"{name} is ")
    assert "\n" not in str(stopped.value)
    assert len(str(stopped.value)) < 600
    if name in {"AUTHORIZATION", "PROXY_URL", "ADMIN_KEY"}:
        assert value not in str(stopped.value)


@pytest.mark.parametrize("text", ["PORT=5006\n".encode("utf-16"), b"HOST=\xe9\n"])
def test_an_env_file_in_another_encoding_is_named(tmp_path, text):
    (tmp_path / ".env").write_bytes(text)
    with pytest.raises(SettingError, match="UTF-8") as stopped:
        load_settings({}, dotenv=tmp_path / ".env")
    assert ".env" in str(stopped.value)


@pytest.mark.parametrize(
    ("environment", "near"),
    [
        ({"CHATGPT_BASEURL": "x"}, "CHATGPT_BASE_URL"),
        ({"AUTHORISATION": "x"}, "AUTHORIZATION"),
        ({"REDIS_URI": "x"}, "REDIS_URL"),
        ({"AUTHORISATION_FILE": "x"}, "AUTHORIZATION"),
        ({"CONTINUE_CHATS": "true"}, "CONTINUE_CHATS"),
        ({"HOST": "0.0.0.0", "AUTHORIZATION": "a"}, "AUTHORIZATION"),
    ],
)
def test_what_is_probably_not_meant_is_named(environment, near):
    (told,) = concerns(load_settings(environment, dotenv=NOWHERE), environment, NOWHERE)
    assert near in told


def test_an_ordinary_environment_is_no_concern():
    environment = {"PATH": "/bin", "HOME": "/", "HTTP_PROXY": "x", "HOSTNAME": "x", "LOGNAME": "x", "PORT": "1"}
    assert concerns(load_settings(environment, dotenv=NOWHERE), environment, NOWHERE) == []


@pytest.mark.parametrize(
    ("host", "address", "public"),
    [("localhost", {"127.0.0.1", "::1"}, False), ("127.1", {"127.0.0.1"}, False), ("0", {"0.0.0.0"}, True)],
)
def test_every_spelling_of_an_address_is_listened_on(host, address, public):
    settings = load(HOST=host, AUTHORIZATION="a-key")
    assert listening_address(settings) in address
    assert settings.is_public is public


BROKEN = [
    ({"STORE_KEY": "abc"}, "STORE_KEY"),
    ({"REDIS_URL": "localhost:6379"}, "REDIS_URL"),
    ({"REDIS_URL": "redis://127.0.0.1:1"}, "REDIS_URL"),
    ({"ALLOW_PRIVATE_URLS": "http://x"}, "ALLOW_PRIVATE_URLS"),
    ({"CA_FILE": "/nope.pem"}, "/nope.pem"),
    ({"CA_FILE": "{folder}/rubbish"}, "CA_FILE"),
    ({"DATA_DIR": "/proc/x"}, "DATA_DIR"),
    ({"DATA_DIR": "{folder}/rubbish"}, "DATA_DIR"),
    ({"REPLAY": "/nope"}, "REPLAY"),
    ({"DATA_DIR": "{folder}/damaged"}, "the store of keys"),
]


@pytest.mark.parametrize(("settings", "named"), BROKEN)
def test_the_start_is_stopped_before_a_worker_exists(tmp_path, settings, named):
    (tmp_path / "rubbish").write_text("rubbish")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "keys.sqlite3").write_bytes(b"no database" * 1000)
    given = {"DATA_DIR": str(tmp_path / "data"), "PORT": "0"}
    given |= {name: value.format(folder=tmp_path) for name, value in settings.items()}

    def all_checks():
        for check in CHECKS:
            check(load(**given))

    with pytest.raises((SettingError, OSError)) as stopped:
        all_checks()
    assert named in str(stopped.value)
    assert "\n" not in str(stopped.value)


def test_the_command_says_one_sentence_and_doctor_the_same(tmp_path):
    environment = clean_environment(PORT=str(free_port()), DATA_DIR=str(tmp_path), CA_FILE="/nope.pem")
    command = [PYTHON, "-m", "shim"]
    how = {"env": environment, "cwd": tmp_path, "capture_output": True, "text": True, "timeout": 60}
    ran = subprocess.run([*command, "serve"], check=False, **how)
    said = ran.stdout + ran.stderr
    assert ran.returncode == 1
    assert (len(said.splitlines()), "/nope.pem" in said) == (1, True)
    environment["CHATGPT_BASE_URL"] = "http://127.0.0.1:9"
    ran = subprocess.run(
        [*command, "doctor", "--json"],
        check=False,
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    told = json.loads(ran.stdout)
    assert not told["ready"]
    bad = {finding["subject"]: finding["state"] for finding in told["findings"] if finding["advice"]}
    assert "/nope.pem" in bad["ca file"]
    assert "upstream" in bad


def test_doctor_looks_at_each_account(tmp_path, upstream):
    environment = clean_environment(PORT=str(free_port()), DATA_DIR=str(tmp_path), CHATGPT_BASE_URL=upstream.base_url)
    add = [PYTHON, "-m", "shim", "tokens", "add", "-"]
    subprocess.run(add, env=environment, cwd=tmp_path, input="r" * 45, text=True, check=True, timeout=60)
    ran = subprocess.run(
        [PYTHON, "-m", "shim", "doctor", "--json"],
        check=False,
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    accounts = [one for one in json.loads(ran.stdout)["findings"] if one["subject"].startswith("account ")]
    assert len(accounts) == 1, ran.stdout


def examined(tmp_path, upstream, *options, **settings):
    """What doctor finds, by subject."""
    environment = clean_environment(
        PORT=str(free_port()), DATA_DIR=str(tmp_path), CHATGPT_BASE_URL=upstream.base_url, **settings
    )
    command = [PYTHON, "-m", "shim", "doctor", "--json", *options]
    ran = subprocess.run(
        command, check=False, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=90
    )
    return {one["subject"]: one for one in json.loads(ran.stdout)["findings"]}


def test_doctor_asks_what_a_turn_has_to_bring_and_makes_none(tmp_path, upstream):
    assert examined(tmp_path, upstream)["requirements"] == {
        "subject": "requirements",
        "state": "upstream takes a turn",
        "advice": "",
    }
    with FaultyUpstream(upstream.base_url).running() as refusing:
        refusing.stage, refusing.act = "chat-requirements", replied("403 X", b'{"detail": "Unusual activity"}')
        refused = examined(tmp_path, refusing)["requirements"]
    assert "refuses a turn" in refused["state"]
    assert "ARKOSE_TOKEN_URL" in refused["advice"]
    assert upstream.get("/standin/stats").json()["recent_turns"] == []


def test_doctor_asks_as_each_account_where_it_is_told_to(tmp_path, upstream):
    token = upstream.post("/standin/accounts", {"name": "pool-1"}).json()["access_token"]
    environment = clean_environment(DATA_DIR=str(tmp_path), CHATGPT_BASE_URL=upstream.base_url)
    add = [PYTHON, "-m", "shim", "tokens", "add", "-"]
    subprocess.run(add, env=environment, cwd=tmp_path, input=token, text=True, check=True, timeout=60)

    def account(*options):
        (found,) = [one for name, one in examined(tmp_path, upstream, *options).items() if name.startswith("account ")]
        return found["state"]

    assert account() == "ready"
    assert account("--ask") == "ready; upstream takes a turn"
