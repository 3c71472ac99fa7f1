"""Settings: precedence, every bad value named, safe defaults."""

import subprocess
import sys
from pathlib import Path

import click
import msgspec
import pytest
from click.testing import CliRunner

from shim.accounts.stores import StoreError
from shim.accounts.stores.sealing import Sealing
from shim.cli.main import main, serve
from shim.server import run
from shim.settings import SECRET, SettingError, Settings, as_environment, describe, load_settings


@pytest.fixture
def dotenv(tmp_path):
    def write(text=""):
        path = tmp_path / ".env"
        path.write_text(text)
        return path

    return write


def load(environment=None, flags=None, dotenv=None):
    return load_settings(environment or {}, flags, dotenv=dotenv or _NOWHERE)


_NOWHERE = Path("/nonexistent/.env")


def test_nothing_given_means_the_defaults():
    assert load() == Settings()
    assert Settings().host == "127.0.0.1"
    assert Settings().port == 5005


def test_a_flag_beats_the_environment_beats_the_file(dotenv):
    path = dotenv("PORT=1\nWORKERS=2\nDEFAULT_MODEL=gpt-4o\n")
    settings = load({"PORT": "3", "WORKERS": "4"}, {"port": 5, "host": None}, path)
    assert (settings.port, settings.workers, settings.default_model) == (5, 4, "gpt-4o")


def test_an_empty_value_means_the_default(dotenv):
    assert (
        load({"PORT": "", "AUTHORIZATION": " ", "HISTORY_DISABLED": ""}, dotenv=dotenv("IDLE_TIMEOUT=\n")) == Settings()
    )


def test_lists_are_separated_by_commas():
    assert load({"AUTHORIZATION": " a, b ,,c"}).authorization == ("a", "b", "c")


@pytest.mark.parametrize(("text", "meant"), [("true", True), ("1", True), ("Yes", True), ("off", False), ("0", False)])
def test_flags_are_read_as_people_write_them(text, meant):
    assert load({"CONVERSATION_ONLY": text}).conversation_only is meant


BAD = [
    ("PORT", "abc", "a whole number, 0 or more and at most 65535"),
    ("PORT", "65536", "65535"),
    ("WORKERS", "0", "1"),
    ("SENTINEL", "three-step", "one-step, two-step"),
    ("TURNSTILE", "solve", "pass, refuse"),
    ("HISTORY_DISABLED", "maybe", "true or false"),
    ("MODEL_ALIASES", "claude=gpt-5:much", "name=model:effort"),
    ("POW_DIFFICULTY", "00003Z", "^[0-9a-f]{1,64}$"),
    ("CHATGPT_BASE_URL", "chatgpt.com", "URL"),
    ("CHATGPT_BASE_URL", "ftp://chatgpt.com", "http"),
    ("PUBLIC_BASE_URL", "http://", "URL"),
    ("IDLE_TIMEOUT", "0", "a number, more than 0"),
    ("RETRY_TIMES", "-1", "0 or more and at most 20"),
    ("MAX_FILE_BYTES", "1k", "a whole number, 1024 or more"),
    ("USER_AGENT", "x" * 301, "1 to 300 characters"),
    ("LOG_LEVEL", "loud", "debug, info, warning, error"),
    ("API_PREFIX", "a b", "letters"),
    ("API_PREFIX", "../x", "letters"),
]


@pytest.mark.parametrize(("name", "value", "allowed"), BAD)
def test_a_bad_value_is_named_with_what_is_allowed(name, value, allowed):
    with pytest.raises(SettingError) as caught:
        load({name: value})
    message = str(caught.value)
    assert message.startswith(f"{name} is ")
    assert repr(value) in message
    assert allowed in message


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("CHATGPT_BASE_URL", "https://me:hunter2@host.test/backend-api"),
        ("CHATGPT_BASE_URL", "https://me:a/hunter2@host.test"),
        ("OAUTH_URL", "ftp://me:hunter2@host.test"),
        ("PUBLIC_BASE_URL", "https://host.test/?key=hunter2"),
        ("CORS_ORIGINS", "https://me:hunter2@host.test"),
    ],
)
def test_a_bad_url_is_shown_without_its_password(name: str, url: str) -> None:
    with pytest.raises(SettingError) as told:
        load_settings({name: url})
    assert "hunter2" not in str(told.value)
    assert "host.test" in str(told.value)


def test_a_bad_secret_is_named_but_not_shown():
    with pytest.raises(SettingError) as caught:
        load({"PROXY_URL": "nonsense://user:hunter2@host"})
    assert "PROXY_URL" in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert {name.lower() for name in SECRET} <= set(Settings.__struct_fields__)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gateway.example"])
def test_a_public_host_without_a_key_does_not_start(host):
    with pytest.raises(SettingError, match="AUTHORIZATION"):
        load({"HOST": host})
    assert load({"HOST": host, "AUTHORIZATION": "key"}).is_public


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_none(host):
    assert not load({"HOST": host}).is_public


def test_the_prefix_is_one_path_however_it_is_written():
    assert {load({"API_PREFIX": one}).root_path for one in ("abc", "/abc", "abc/", "/abc/")} == {"/abc"}
    assert load({"API_PREFIX": "a/b-c"}).root_path == "/a/b-c"
    assert load().root_path == ""


def test_every_setting_is_described():
    rows = describe()
    assert [name.lower() for name, _, _ in rows] == list(Settings.__struct_fields__)
    assert all(text.endswith((".", ")")) and len(text) > 10 for _, _, text in rows)


def test_settings_are_frozen():
    with pytest.raises(AttributeError):
        Settings().port = 1
    assert isinstance(Settings(), msgspec.Struct)


@pytest.mark.parametrize(("host", "served"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False)])
def test_pages_are_served_to_other_machines_only_when_asked_for(host: str, served: bool) -> None:
    environment = {"HOST": host, "AUTHORIZATION": "a-long-key"}
    assert load_settings(environment).enable_gateway is served
    assert load_settings(environment | {"ENABLE_GATEWAY": "true"}).enable_gateway
    assert not load_settings(environment | {"ENABLE_GATEWAY": "false"}).enable_gateway


# --- secrets in files, and flags --------------------------------------------------------------------------------------


def test_a_secret_may_be_in_a_file(tmp_path):
    path = tmp_path / "keys"
    path.write_text("first\n\n second , third\n")
    assert load({"AUTHORIZATION_FILE": str(path)}).authorization == ("first", "second", "third")
    assert load({"AUTHORIZATION": "environment"}, {"authorization_file": path}).authorization[0] == "first"
    path.write_text("only, one\n")
    assert load({"ADMIN_KEY_FILE": str(path), "ADMIN_KEY": ""}).admin_key == "only, one"


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(SettingError, match=r"STORE_KEY_FILE is '.*nowhere', which can't be read"):
        load({"STORE_KEY_FILE": str(tmp_path / "nowhere")})
    with pytest.raises(SettingError, match="ADMIN_KEY and ADMIN_KEY_FILE are both set"):
        load({"ADMIN_KEY_FILE": "x", "ADMIN_KEY": "y"})
    assert load({"HOST_FILE": "x"}) == Settings()


def test_workers_read_what_the_flags_said(tmp_path):
    (tmp_path / "keys").write_text("filed")
    told = as_environment({"authorization_file": tmp_path / "keys", "port": 7, "enable_gateway": False, "host": None})
    settings = load({"AUTHORIZATION": "environment"} | told)
    assert (settings.authorization, settings.port, settings.enable_gateway) == (("filed",), 7, False)


def test_every_setting_is_a_flag_and_no_secret_is_one():
    parameters = serve.get_params(click.Context(serve))
    offered = {name for option in parameters for name in option.opts if name.startswith("--")}
    expected = {f"--{name.lower().replace('_', '-')}{'-file' if name in SECRET else ''}" for name, _, _ in describe()}
    assert offered == expected | {"--help"}


def test_flags_reach_the_settings(monkeypatch):
    given = {}
    monkeypatch.setattr(run, "serve", given.update)
    answer = CliRunner().invoke(main, ["serve", "--port", "7", "--no-history-disabled", "--sentinel", "two-step"])
    assert answer.exit_code == 0, answer.output
    settings = load(flags=given)
    assert (settings.port, settings.history_disabled, settings.sentinel) == (7, False, "two-step")


def test_a_new_key_seals():
    key = CliRunner().invoke(main, ["new-key"]).output.strip()
    assert load({"STORE_KEY": key}).store_key == (key,)
    Sealing([key])
    with pytest.raises(StoreError):
        Sealing([key[:-2]])


HEAVY = ("litestar", "msgspec", "granian", "curl_cffi", "cryptography", "rich", "asyncio", "httpcore", "dotenv")


def test_help_imports_nothing_heavy():
    program = "import sys; from shim.cli.main import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert "new-key" in shown
    loaded = {name.partition(".")[0] for name in shown.splitlines()[-1].split()}
    assert loaded & set(HEAVY) == set()


def test_the_main_process_holds_nothing_that_only_workers_need():
    program = "import sys, shim.server.run; print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    loaded = {name.partition(".")[0] for name in shown.split()}
    assert loaded & {"litestar", "curl_cffi", "httpcore", "jsonschema_rs", "tiktoken", "redis", "cryptography"} == set()


def test_a_worker_holds_nothing_that_only_some_calls_need():
    program = (
        "import sys; from shim.app import create_app; from shim.http import static; from shim.settings import Settings;"
        "create_app(Settings()); print(static._own_site.cache_info().currsize, *sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    pages, *modules = shown.stdout.split()
    assert pages == "0"
    loaded = {name.partition(".")[0] for name in modules}
    assert loaded & {"httpcore", "imagesize", "puremagic", "jsonschema_rs", "redis", "rich"} == set()


@pytest.mark.parametrize(
    ("public", "prefix", "address"),
    [
        ("", "", "http://gw.test:5005"),
        ("", "secret", "http://gw.test:5005/secret"),
        ("https://gw.example", "", "https://gw.example"),
        ("https://gw.example/", "secret", "https://gw.example/secret"),
        ("https://gw.example/secret", "secret", "https://gw.example/secret"),
        ("https://gw.example/secret/", "/secret/", "https://gw.example/secret"),
    ],
)
def test_the_address_of_links_has_the_prefix_once(public: str, prefix: str, address: str) -> None:
    settings = Settings(public_base_url=public, api_prefix=prefix)
    assert settings.address("http://gw.test:5005") == address
