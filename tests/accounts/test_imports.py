"""What people have at hand: lines, cookies, files of other programs; each gives a result, and nothing is guessed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shim.accounts.account import Account, account_of, read_claims
from shim.accounts.imports import once, read_text, text_of, write_accounts
from shim.standin import make_access_token, make_refresh_token, make_session_token
from shim.standin.accounts import CODEX_CLIENT, MOBILE_CLIENT, PLATFORM_CLIENT, WEB_CLIENT

NOW = 1_800_000_000.0
COOKIE = "__Secure-next-auth.session-token"
TEAM = "0d5a1c3e-7d0c-452a-96e3-916f2457b083"
ALICE = make_access_token("alice", "plus", NOW + 100)
LATER = make_access_token("alice", "plus", NOW + 5000)
BOB = make_access_token("bob", "team", NOW + 100, client_id=MOBILE_CLIENT)
RT = make_refresh_token("alice", client_id=CODEX_CLIENT)
OLD_RT = make_refresh_token("alice")
SESSION = make_session_token("alice")
LONG = make_session_token("alice", length=9000)
ALICE_ID = account_of(read_text(ALICE)[0].credential, 0).id
NEITHER = "it is neither an access, a refresh nor a session token"


def only(text):
    """The account of the one line there is."""
    (line,) = read_text(text)
    assert line.credential is not None, line.why
    return account_of(line.credential, NOW)


def told(text):
    return [(line.where, line.why) for line in read_text(text)]


def cut(session):
    return [session[begin : begin + 3933] for begin in range(0, len(session), 3933)]


# --- lines ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("between", ["----", "|", ":", "\t", ";", ","])
@pytest.mark.parametrize(
    ("fields", "given"),
    [
        (["hunter2", "TOKEN"], (ALICE, None)),
        (["TOKEN"], (ALICE, None)),
        (["hunter2", "TOKEN", "2026-11-28"], (ALICE, None)),
        (["hunter2", "TOKEN", RT], (ALICE, RT)),
        (["hunter2", RT, "plus"], (None, RT)),
        (["p" * 45, RT], (None, RT)),  # a password that has the form of a token
    ],
)
def test_a_mail_address_and_a_password_before_a_token(between, fields, given):
    line = between.join(["Alice.Long@Example.com", *fields]).replace("TOKEN", ALICE)
    account = only(line)
    assert (account.access_token, account.refresh_token) == given
    assert account.mail == ("al…@example.test" if given[0] else "Al…@example.com")  # the token's own, where it says one
    assert "hunter2" not in repr(account)
    assert account.workspace_id is None


@pytest.mark.parametrize("between", [",", ";", "\t", "|"])
def test_a_table_with_the_names_of_its_columns(between):
    rows = [
        ["Name", "access_token", "Refresh Token", "password", "e-mail"],
        ["Mine", ALICE, RT, "hunter2", "alice.long@example.com"],
        ["", LATER, "", "", ""],
        ["x", "nothing", "", "hunter2"],
        ["only", "", "", "hunter2", "x@example.com"],
    ]
    text = "\r\n".join(between.join(row) for row in rows)
    first, second, *wrong = read_text(text)
    one, two = (account_of(line.credential, NOW) for line in (first, second))
    assert (one.access_token, one.refresh_token, one.label, first.line) == (ALICE, RT, "Mine", 2)
    assert (two.access_token, two.refresh_token) == (LATER, None)
    assert [(line.where, line.why) for line in wrong] == [("line 4", NEITHER), ("line 5", "it has no token")]
    quoted = "\n".join(between.join(f'"{cell}"' for cell in row) for row in rows[:2])
    assert only(quoted) == one


def test_a_table_may_not_say_of_which_kind_its_tokens_are():
    accounts = [
        account_of(line.credential, NOW) for line in read_text(f"token,id\n{ALICE},1\n{RT},2\n{SESSION},3\n{BOB}")
    ]
    assert [one.access_token for one in accounts] == [ALICE, None, None, BOB]
    assert [one.refresh_token for one in accounts] == [None, RT, None, None]
    assert [one.session_token for one in accounts] == [None, None, SESSION, None]


def test_a_workspace_behind_a_comma_behind_a_mail_address():
    for line in (f"a@example.com,hunter2,{RT},{TEAM}", f"a@example.com----hunter2----{RT},{TEAM}"):
        assert (only(line).refresh_token, only(line).workspace_id) == (RT, TEAM)


@pytest.mark.parametrize(
    "line", ["a@example.com----hunter2", "a@example.com:hunter2:" + RT[:-30] + " " + RT[-30:], "a@example.com----"]
)
def test_without_a_token_behind_it_a_mail_address_is_refused_and_not_repeated(line):
    assert told(line) == [("line 1", "there is no token behind the mail address")]


def test_a_table_with_quotes():
    (line,) = read_text(f'"mail","password","token"\n"a@example.com","hunter2","{RT}"\n')
    assert line.where == "line 2"
    assert line.credential is not None
    assert line.credential.secret_token == RT


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [("utf-8", b""), ("utf-8-sig", b""), ("utf-16", b""), ("utf-16-be", b"\xfe\xff"), ("gbk", b"")],
)
def test_files_in_the_encodings_that_people_have(encoding, mark):
    text = text_of(mark + f"# 我的账号\r\n{ALICE}\r\n".encode(encoding))
    assert only(text).access_token == ALICE


@pytest.mark.parametrize("raw", [b"SQLite format 3\0", b"\x89PNG\r\n\x1a\n\0", "a".encode("utf-16-le")])
def test_what_is_no_text(raw):
    with pytest.raises(ValueError, match="no text"):
        text_of(raw)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_file(end):
    lines = ["\ufeff# mine", "", RT, "  # more", "nonsense", f"{RT},{TEAM}", f" {RT} ", ALICE, ""]
    found = once(read_text(end.join(lines)))
    assert [line.line for line in found if line.credential] == [3, 6, 8]
    assert [(line.where, line.why) for line in found if not line.credential] == [
        ("line 5", NEITHER),
        ("line 7", "it is the same account as on line 3"),
    ]


@pytest.mark.parametrize(
    ("line", "kind", "secret"),
    [
        (f"{ALICE} # mine", "access", ALICE),
        (f"{RT}\t# mine # really", "refresh", RT),
        (f"ACCESS_TOKEN={ALICE}", "access", ALICE),
        (f'export CHATGPT_TOKEN = "{ALICE}" # mine', "access", ALICE),
        (f"x.0={SESSION}", "session", SESSION),
        (f"{COOKIE}={SESSION}", "session", SESSION),
        (f'"{RT}",', "refresh", RT),
        ("rt_" + "a" * 50 + "==", "refresh", "rt_" + "a" * 50 + "=="),
    ],
)
def test_what_stands_around_a_token_is_left_out(line, kind, secret):
    (found,) = read_text(line)
    assert found.credential is not None, found.why
    assert (found.credential.kind, found.credential.secret_token) == (kind, secret)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (LONG[3933:], NEITHER),  # the second half of a cookie
        (ALICE[len(ALICE) // 2 :], NEITHER),  # a wrapped access token
        (f"x.1={LONG[3933:]}", NEITHER),
        (f"x.1={'a' * 45}", "it is a piece of some cookie, and not of the session's"),
        (f"OPENAI_API_KEY=sk-proj-{'x' * 60}", "this is an API key of the OpenAI platform, not a ChatGPT token"),
        (f"KEY={'ab' * 40}", NEITHER),
        ("{" + RT, "it begins like JSON, but can't be read as such"),
        ('{"accessToken": 5}', "it is an answer of /api/auth/session, but without an accessToken"),
        (
            '{"user": {"id": "u"}, "expires": "2026"}',
            "it is an answer of /api/auth/session, but without an accessToken",
        ),
        ('{"detail": "x"}', "it is JSON, but of no kind of account file that is known here"),
        ('{"OPENAI_API_KEY": "sk-x", "tokens": null}', "it is JSON, but of no kind of account file that is known here"),
        ('{"tokens": {}}', "it has no token"),
        ('{"accounts": []}', "there are no accounts in it"),
        ("[]", "there are no accounts in it"),
        ("[5]", "it is JSON, but of no kind of account file that is known here"),
        ("[" * 100_000, "it begins like JSON, but can't be read as such"),
        (json.dumps({"type": "codex", "access_token": RT}), "its access_token is none"),
        (json.dumps({"refresh_token": ALICE}), "its refresh_token is none"),
        (json.dumps({"refresh_token": "x" * 60}), NEITHER),
        (json.dumps({"refresh_token": RT, "client_id": "mine"}), "its client id is none"),
        (json.dumps({"refresh_token": RT, "workspace_id": "a b"}), "its workspace id is none"),
        (json.dumps({"type": "codex", "id_token": ALICE}), "it has no token"),
    ],
)
def test_what_is_not_taken_is_said_without_its_content(line, why):
    (found,) = read_text(line)
    assert (found.credential, found.why, found.passed) == (None, why, False)
    assert len(line) < 30 or line[-30:] not in found.where + found.why


def test_the_longer_lived_token_of_an_account_counts_wherever_it_is():
    found = once(read_text(f"{ALICE}\n{LATER}\n{LATER},{TEAM}"))
    assert [(line.where, line.credential and line.credential.secret_token, line.why) for line in found] == [
        ("line 1", None, "it is the same account as on line 2"),
        ("line 2", LATER, ""),
        ("line 3", LATER, ""),
    ]
    first = once(read_text(f"{LATER}\n{ALICE}\n{LATER}"))
    assert [line.why for line in first] == ["", *["it is the same account as on line 1"] * 2]


def test_no_refresh_token_is_lost_with_the_line_that_is():
    found = once(read_text(f"{ALICE}----{RT},{CODEX_CLIENT}\n{LATER}"))
    account = account_of(found[1].credential, NOW)
    assert (account.access_token, account.refresh_token, account.client_id) == (LATER, RT, CODEX_CLIENT)


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff", "# only\n#comments", "  # one"])
def test_nothing_in_it(text):
    assert read_text(text) == []


# --- cookies ----------------------------------------------------------------------------------------------------------


def test_the_pieces_of_a_session_are_joined_in_order_account_by_account():
    one, two = cut(LONG), cut(make_session_token("bob", length=5000))
    lines = [
        "# a browser's table",
        f"{COOKIE}.1={one[1]}",
        f"{COOKIE}.0={one[0]}",
        "",
        f"{COOKIE}.2={one[2]} # the last",
        ALICE,
        f'{COOKIE}.0="{two[0]}"',
        f"{COOKIE}.1={two[1]},{TEAM}",
    ]
    found = read_text("\n".join(lines))
    assert [line.where for line in found] == ["lines 2 to 5", "line 6", "lines 7 to 8"]
    assert [line.credential.secret_token for line in found] == [LONG, ALICE, "".join(two)]
    assert found[2].credential.workspace_id == TEAM


def test_a_whole_cookie_header():
    pieces = "; ".join(f"{COOKIE}.{number}={piece}" for number, piece in enumerate(cut(LONG)))
    assert only(f"Cookie: oai-did=1; {pieces}; __cf_bm=x").session_token == LONG
    assert only(f"oai-did=1; {COOKIE}={SESSION}; a=b").session_token == SESSION


@pytest.mark.parametrize(("numbers"), [(1, 2), (0, 2), (1,)])
def test_a_missing_piece_is_told(numbers):
    text = "\n".join(f"{COOKIE}.{number}={cut(LONG)[number]}" for number in numbers)
    ((_, why),) = told(text)
    assert why == "a piece of the session cookie is missing: all are needed, from .0 on"


def test_pieces_that_are_no_session():
    ((where, why),) = told(f"{COOKIE}.0={'x' * 20}\n{COOKIE}.1={'x' * 25}")
    assert (where, why) == ("lines 1 to 2", "the pieces of the session cookie do not make up a session")
    ((_, why),) = told(f"{COOKIE}.0=eyJhbGciOiJkaXIifQ..aXY.{'c' * 3900}")  # the tag is in the next piece
    assert why == NEITHER


# --- files ------------------------------------------------------------------------------------------------------------


def session_json(token=ALICE, structure="personal", id=TEAM):
    account = {"id": id, "planType": "team", "structure": structure}
    return {"user": {"id": "user-1"}, "expires": "2027-01-01T00:00:00Z", "account": account, "accessToken": token}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(("structure", "workspace"), [("personal", None), ("workspace", TEAM), (None, None)])
def test_the_session_page(indent, structure, workspace):
    account = only("\n" + json.dumps(session_json(structure=structure), indent=indent))
    assert (account.access_token, account.workspace_id) == (ALICE, workspace)


def codex_json(access=ALICE, **more):
    tokens = {"id_token": access, "access_token": access, "refresh_token": RT, "account_id": TEAM} | more
    return {"OPENAI_API_KEY": None, "auth_mode": "chatgpt", "tokens": tokens, "last_refresh": "2026-11-01T00:00:00Z"}


def test_codex():
    account = only(json.dumps(codex_json(), indent=2))
    assert (account.id, account.access_token, account.refresh_token) == (ALICE_ID, ALICE, RT)
    assert (account.client_id, account.workspace_id, account.expires) == (CODEX_CLIENT, None, NOW + 100)
    team = only(json.dumps(codex_json(BOB)))
    assert (team.workspace_id, team.client_id) == (TEAM, MOBILE_CLIENT)  # the token says whose it is
    assert read_text(json.dumps(codex_json()))[0].shared


@pytest.mark.parametrize(
    ("access", "client_id"),
    [(make_access_token("a"), CODEX_CLIENT), (make_access_token("a", client_id=PLATFORM_CLIENT), PLATFORM_CLIENT)],
)
def test_the_web_pages_id_is_never_a_refresh_tokens(access, client_id):
    assert read_claims(make_access_token("a")).client == WEB_CLIENT
    assert only(json.dumps(codex_json(access))).client_id == client_id


CPA = {
    "type": "codex",
    "access_token": "",
    "refresh_token": RT,
    "id_token": ALICE,
    "account_id": TEAM,
    "email": "a@b.c",
}


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: [one], lambda one: {"items": [one]}])
def test_cpa(wrap):
    account = only(json.dumps(wrap(CPA)))
    assert (account.id, account.access_token, account.refresh_token) == (ALICE_ID, None, RT)
    assert (account.client_id, account.expires, account.plan) == (CODEX_CLIENT, None, "plus")


def test_what_a_file_says_of_a_token_that_says_nothing():
    entry = {"type": "codex", "access_token": "fk-" + "x" * 20}
    for said in ("2027-01-15T08:00:00Z", "2027-01-15T10:00:00+02:00", 1_800_000_000, "1800000000"):
        assert only(json.dumps(entry | {"expired": said})).expires == NOW
        assert only(json.dumps(entry | {"expires_at": said})).expires == NOW
    for said in (None, True, "soon", "T", [], 1e300, "nan"):
        assert only(json.dumps(entry | {"expired": said})).expires is None


def sub2api(name, platform="openai", type="oauth", **credentials):
    return {"name": name, "platform": platform, "type": type, "credentials": credentials, "concurrency": 3}


def test_sub2api():
    file = {
        "exported_at": "2026-11-01T00:00:00Z",
        "proxies": [{"host": "h"}],
        "accounts": [
            sub2api("mine", access_token=ALICE, refresh_token=RT, client_id=PLATFORM_CLIENT),
            sub2api("other", platform="anthropic", access_token="sk-ant-x"),
            sub2api("key", type="apikey", api_key="sk-x"),
            sub2api("empty"),
            sub2api("team", refresh_token=OLD_RT, chatgpt_user_id="u-1", chatgpt_account_id=TEAM, plan_type="team"),
            sub2api("x" * 60, access_token=LATER),
        ],
    }
    found = once(read_text(json.dumps(file, indent=1), "export.json"))
    assert [(line.where.removeprefix("export.json, line 1, "), line.why, line.passed) for line in found] == [
        ('entry 1 ("mine")', "it is the same account as on export.json, line 1, entry 6", False),
        ('entry 2 ("other")', "it is an account of another platform", True),
        ('entry 3 ("key")', "it is an account of another platform", True),
        ('entry 4 ("empty")', "it has no token", False),
        ('entry 5 ("team")', "", False),
        ("entry 6", "", False),
    ]
    team = account_of(found[4].credential, NOW)
    assert (team.user, team.workspace_id, team.plan, team.client_id) == ("u-1", TEAM, "team", CODEX_CLIENT)
    mine = account_of(found[5].credential, NOW)
    assert (mine.access_token, mine.refresh_token, mine.client_id) == (LATER, RT, PLATFORM_CLIENT)


def test_an_entry_of_another_program_is_passed_over_by_its_type():
    found = read_text(json.dumps([{"type": "claude", "access_token": "x"}, CPA]))
    assert [(line.passed, line.credential is not None) for line in found] == [(True, False), (False, True)]


def test_lists_of_tokens_and_documents_among_lines():
    text = "\n".join(
        [f'[ "{ALICE}", "{RT}" ]', json.dumps(session_json(BOB), indent=2), "", "nonsense", json.dumps(CPA) + " # mine"]
    )
    assert [(line.where, line.credential is not None) for line in read_text(text)] == [
        ("line 1, entry 1", True),
        ("line 1, entry 2", True),
        ("line 2", True),
        ("line 15", False),
        ("line 16", True),
    ]


def test_many_lines_that_never_end_are_read_in_time():
    assert len(read_text('{"a":\n' * 20_000)) == 20_000


def test_something_after_the_json_is_told():
    assert [why for _, why in told(json.dumps(CPA) + " and more")] == ["", NEITHER]


# --- there and back ---------------------------------------------------------------------------------------------------


def test_what_is_written_is_read_as_the_same_accounts():
    accounts = [
        Account("a", access_token="fk-" + "x" * 20, expires=NOW, plan="plus"),
        account_of(read_text(f"{ALICE}----{RT},{TEAM}")[0].credential, NOW),
        Account("c", refresh_token=OLD_RT, client_id=MOBILE_CLIENT, client_sure=True),
        Account("d", refresh_token=RT, session_token=LONG, user="user-1", plan="team"),
        account_of(read_text(f"{SESSION},{TEAM}")[0].credential, NOW),
    ]
    read = [account_of(line.credential, NOW) for line in read_text(write_accounts(accounts))]
    for before, after in zip(accounts, read, strict=True):
        for name in ("access_token", "refresh_token", "session_token", "workspace_id", "client_id", "expires", "user"):
            assert getattr(after, name) == getattr(before, name), name
        assert after.plan == before.plan
    assert not any(line.shared for line in read_text(write_accounts(accounts)))


names = st.sampled_from([
    *("accounts", "items", "tokens", "credentials", "type", "platform", "name", "email", "accessToken", "account"),
    *("structure", "user", "expires", "access_token", "refresh_token", "session_token", "id_token", "id"),
    *("account_id", "chatgpt_user_id", "client_id", "workspace_id", "plan_type", "expires_at", "expired"),
])  # fmt: skip
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([10**400, "\ud800", "codex", "openai", "oauth", "workspace", "team", TEAM, CODEX_CLIENT])
    | st.sampled_from([ALICE, RT, OLD_RT, SESSION, "fk-secret-secret", "sk-secret", "a\nb", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=6),
    max_leaves=20,
)


@given(values, st.sampled_from([None, 1]))
def test_whatever_is_in_a_file_each_entry_has_a_result(value, indent):
    found = once(read_text(json.dumps(value, indent=indent)))
    assert found
    for line in found:
        assert (line.credential is None) == bool(line.why)
        assert "secret" not in line.where + line.why
        if line.credential is not None:
            assert account_of(line.credential, NOW).id


@given(st.text(alphabet='{}[]"#=;., \n\t-_0a' + COOKIE[:3], max_size=200))
def test_whatever_is_in_a_text_it_is_read(text):
    assert all(line.why or line.credential for line in once(read_text(text)))


def test_nothing_shows_a_token():
    for line in read_text("\n".join([ALICE, RT, LONG, f"{BOB}----{OLD_RT}", json.dumps(CPA)])):
        shown = repr(line)
        assert not [secret for secret in (ALICE, RT, LONG, BOB, OLD_RT) if secret in shown or secret[4:30] in shown]
