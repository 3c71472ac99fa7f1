"""`chat2api config`: what is in effect, where it is from, and no secret."""

import json
import re

import pytest
from click.testing import CliRunner

from shim.cli.main import main
from shim.settings import SECRET, describe

SECRET_VALUES = {
    "AUTHORIZATION": "key-nobody-may-see,another-nobody-may-see",
    "ADMIN_KEY": "admin-nobody-may-see",
    "PROXY_URL": "http://me:nobody-may-see@127.0.0.1:1",
    "REDIS_URL": "redis://:nobody-may-see@127.0.0.1:1/0",
    "STORE_KEY": "nobody-may-see",
    "ARKOSE_TOKEN_URL": "http://127.0.0.1:1/?key=nobody-may-see",
}


@pytest.fixture
def config(tmp_path, monkeypatch):
    """`config(".env's text", NAME="value")("--flag", ...)`: what is printed, of standard error too."""
    monkeypatch.chdir(tmp_path)
    for name, _, _ in describe():
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"{name}_FILE", raising=False)

    def given(dotenv="", **environment):
        (tmp_path / ".env").write_text(dotenv)

        def run(*arguments, code=0):
            ran = CliRunner(env=environment).invoke(main, ["config", *arguments])
            assert ran.exit_code == code, ran.output
            return ran

        return run

    return given


def rows(run, *arguments):
    return {row["name"]: row for row in json.loads(run(*arguments, "--json").stdout)}


def test_every_setting_is_there_once_in_order_with_its_default(config):
    told = json.loads(config()("--json").stdout)
    assert [(row["name"], row["value"], row["default"]) for row in told] == [
        (name, default, default) for name, default, _ in describe()
    ]
    assert {row["origin"] for row in told} == {"default"}


def test_each_value_says_which_source_won(config):
    run = config("PORT=1\nWORKERS=2\nDEFAULT_MODEL=gpt-4o\n", PORT="3", WORKERS="4")
    told = rows(run, "--port", "5", "--no-history-disabled")
    shown = {name: (row["value"], row["origin"]) for name, row in told.items() if row["origin"] != "default"}
    assert shown == {
        "PORT": ("5", "flag"),
        "WORKERS": ("4", "environment"),
        "DEFAULT_MODEL": ("gpt-4o", ".env"),
        "HISTORY_DISABLED": ("false", "flag"),
    }


def test_an_empty_value_has_no_origin_of_its_own(config):
    assert rows(config("PORT=7", PORT=""))["PORT"]["origin"] == ".env"
    assert rows(config("", PORT="  "))["PORT"]["origin"] == "default"


def test_no_secret_is_shown_in_either_form(config):
    assert set(SECRET_VALUES) == SECRET
    run = config("", **SECRET_VALUES, OAUTH_URL="http://me:nobody-may-see@127.0.0.1:1/token?key=nobody-may-see")
    for ran in (run(), run("--json")):
        assert "nobody-may-see" not in ran.output
        assert "(not shown)@127.0.0.1" in ran.output
    told = rows(run)
    assert {told[name]["value"] for name in SECRET} == {None}
    assert re.search(r"^AUTHORIZATION +\(not shown\)  \(environment\)$", run("--changed").stdout, re.M)


def test_a_secret_from_a_file_names_the_file(config, tmp_path):
    (tmp_path / "keys.txt").write_text("key-nobody-may-see\n")
    by_flag = rows(config("AUTHORIZATION=another-nobody-may-see"), "--authorization-file", "keys.txt")
    assert (by_flag["AUTHORIZATION"]["origin"], by_flag["AUTHORIZATION"]["file"]) == ("flag", "keys.txt")
    ran = config("", AUTHORIZATION_FILE="keys.txt")("--changed")
    assert ran.stdout == "AUTHORIZATION  (not shown)  (environment, from keys.txt)\n"


def test_what_is_worked_out_is_shown_as_it_works(config):
    told = rows(
        config("", HOST="0.0.0.0", AUTHORIZATION="a-key-of-many-characters", PUBLIC_BASE_URL="https://x.test/v1/")
    )
    assert told["ENABLE_GATEWAY"]["value"] == "false"
    assert told["PUBLIC_BASE_URL"]["value"] == "https://x.test"


def test_what_is_wrong_or_not_meant_is_told(config):
    ran = config("", PORT="http")(code=1)
    assert "PORT is 'http': allowed is" in ran.stderr
    ran = config("", AUTHORISATION="x")("--json")
    assert "AUTHORISATION is no setting and has no effect: is AUTHORIZATION meant?" in ran.stderr
    assert json.loads(ran.stdout)
