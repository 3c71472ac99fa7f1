"""`chat2api import`: the data folder of the original chat2api, as its versions write it."""

import json

import pytest
from click.testing import CliRunner

from shim.accounts.original import NOT_TAKEN
from shim.cli.main import main
from shim.cli.original import NAMES, env_names, told_of
from shim.settings import describe
from shim.standin import make_access_token, make_refresh_token

ALICE, BOB, CAROL = (make_access_token(name, "plus") for name in ("alice", "bob", "carol"))
OF_BOB, OF_DAVE, OF_ERIN, GONE = (make_refresh_token(name) for name in ("bob", "dave", "erin", "gone"))
SECRETS = (ALICE, BOB, CAROL, OF_BOB, OF_DAVE, OF_ERIN, GONE)
TOKENS = f"# mine\n{ALICE}\n{OF_BOB},team-1\n{OF_DAVE}\nnonsense\n\n{BOB},team-1\n"
REFRESHED = {OF_BOB: {"token": BOB, "timestamp": 1700000000}, OF_ERIN: {"token": CAROL, "timestamp": 1700000000}}
ENV = """
AUTHORIZATION="key-one,key-two-hunter2"
ARK0SE_TOKEN_URL=http://ark0se:5006/token
ADMIN_PASSWORD=hunter2
HISTORY_DISABLE=true
RETRY_TIMES=many-hunter2
ENABLE_LIMIT=true
USER_AGENTS=["ua1", "ua2"]
TZ=Asia/Shanghai
"""


@pytest.fixture
def folder(tmp_path):
    data = tmp_path / "original" / "data"
    data.mkdir(parents=True)
    (data / "token.txt").write_text(TOKENS)
    (data / "refresh_map.json").write_text(json.dumps(REFRESHED))
    (data / "error_token.txt").write_text(f"{OF_DAVE}\n{GONE}\n")
    (data / "fp_map.json").write_text("{}")
    (data.parent / ".env").write_text(ENV)
    return data.parent


@pytest.fixture
def run(tmp_path, monkeypatch):
    home = tmp_path / "here"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "ours"))
    return lambda *words: CliRunner().invoke(main, words)


def test_files_as_windows_writes_them(folder, run):
    (folder / "data/token.txt").write_bytes(TOKENS.replace("# mine", "# 我的").replace("\n", "\r\n").encode("utf-16"))
    (folder / "data/error_token.txt").write_bytes(f"# 坏的\n{OF_DAVE}\n{GONE}\n".encode("gbk"))
    run("import", str(folder))
    kinds = {tuple(one["kinds"]): one["mail"] for one in listed(run)}
    assert kinds[("access",)] == "al…@example.test"
    assert len(listed(run)) == 4


def test_a_file_that_is_no_text_is_told_of(folder, run):
    (folder / "data/token.txt").write_bytes(b"SQLite format 3\0")
    done = run("import", str(folder))
    assert done.exit_code == 1
    assert "token.txt can't be read: it is no text" in done.output


def listed(run):
    return json.loads(run("tokens", "list", "--json").output)


def without_ids(text, accounts):
    for account in accounts:
        text = text.replace(account["id"], "ID")
    return text.splitlines()


@pytest.mark.parametrize("part", ["", "data"])
def test_a_folder_is_taken_with_a_result_for_each_line(run, folder, part):
    done = run("import", str(folder / part))
    accounts = listed(run)
    lines = without_ids(done.output, accounts)
    assert sorted(lines[:7]) == sorted(
        [
            "token.txt, line 2: added ID",
            "token.txt, line 3: added ID",
            "token.txt, line 4: added ID; the original had given it up, so see whether it works",
            "token.txt, line 5: it is neither an access, a refresh nor a session token",
            "token.txt, line 7: it is the same account as on token.txt, line 3",
            "refresh_map.json, entry 2: added ID",
            "error_token.txt, line 2: the original has given it up, and it is not in token.txt",
        ]
    )
    assert "4 added, 0 updated, 4 in all, 1 passed over" in lines
    assert f"fp_map.json: not taken ({NOT_TAKEN['fp_map.json']})" in lines
    assert done.exit_code == 1, "a line was refused"
    kinds = [["access"], ["access", "refresh"], ["refresh"], ["access", "refresh"]]
    assert [account["kinds"] for account in accounts] == kinds
    assert [account["workspace"] for account in accounts] == [False, True, False, False]
    assert not [secret for secret in (*SECRETS, "hunter2") if secret in done.output]


def test_once_more_nothing_is_new(run, folder):
    run("import", str(folder))
    again = run("import", str(folder))
    assert "0 added, 0 updated, 4 in all" in again.output
    assert "token.txt, line 3: already here, nothing new" in again.output


def test_a_dry_run_changes_nothing(run, folder):
    done = run("import", str(folder), "--dry-run")
    assert "token.txt, line 2: would be taken" in done.output
    assert "AUTHORIZATION: AUTHORIZATION" in done.output
    assert listed(run) == []


def test_its_settings_are_told_by_name(run, folder):
    told = run("import", str(folder)).output.splitlines()
    assert "AUTHORIZATION: AUTHORIZATION" in told
    assert "ARK0SE_TOKEN_URL: ARKOSE_TOKEN_URL (spelt with an O, and one address)" in told
    assert "ADMIN_PASSWORD: ADMIN_KEY (the key of the accounts page)" in told
    assert "ENABLE_LIMIT: no counterpart: limits of upstream's are always honoured" in told
    (misspelt,) = (line for line in told if line.startswith("HISTORY_DISABLE:"))
    assert "misspelt" in misspelt
    assert "HISTORY_DISABLED is meant" in misspelt
    assert not [line for line in told if line.startswith("TZ")]
    assert any(line.startswith("RETRY_TIMES: its value can't be used") for line in told)


def test_every_name_of_ours_in_the_table_is_a_setting():
    settings = {name for name, _, _ in describe()}
    assert {ours for ours, _ in NAMES.values() if ours} <= settings
    assert all(why for _, why in NAMES.values())


def test_the_environment_of_a_compose_file(tmp_path, run, folder):
    file = tmp_path / "compose.yaml"
    lines = ("services:", "  chat2api:", "    environment:", "      - PROXY_URL=http://u:hunter2@x.test:1  # mine")
    file.write_text("\n".join(lines))
    assert env_names(file.read_text()) == {"PROXY_URL": "http://u:hunter2@x.test:1"}
    done = run("import", str(folder), "--env", str(file))
    assert "PROXY_URL: PROXY_URL" in done.output
    assert "AUTHORIZATION" not in done.output
    assert "hunter2" not in done.output


def test_a_secret_that_can_t_be_used_is_not_shown():
    told = "\n".join(told_of({"PROXY_URL": "ftp://hunter2@x", "AUTHORIZATION": 'a "hunter2" b'}))
    assert told.count("can't be used") == 2
    assert "hunter2" not in told


DAMAGED = ["", "{", "[1]", '{"x": 1}', json.dumps({"a" * 45: {"token": 5}}), json.dumps({OF_BOB: {"token": "eyJ..."}})]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_map_that_is_damaged_spoils_nothing_else(run, folder, content):
    (folder / "data" / "refresh_map.json").write_text(content)
    done = run("import", str(folder))
    assert "token.txt, line 2: added" in done.output
    assert "token.txt, line 3: added" in done.output
    assert done.exit_code == 1


def test_a_folder_of_something_else(run, tmp_path):
    done = run("import", str(tmp_path))
    assert done.exit_code == 1
    assert "none of token.txt" in done.output
    assert run("import", str(tmp_path / "nowhere")).exit_code == 2
