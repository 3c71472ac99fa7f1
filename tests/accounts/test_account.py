"""What a line of text stands for, what an access token says, and that nobody sees a secret."""

import base64
import json

import msgspec
import pytest
from rich.console import Console
from rich.pretty import pretty_repr

from shim.accounts.account import (
    Account,
    Claims,
    Credential,
    account_id,
    account_of,
    fingerprint,
    parse_credential,
    read_claims,
    read_lines,
)
from shim.accounts.rotations import Rotation
from shim.chatgpt.oauth import RefreshAnswer, RefreshRequest, SessionAnswer
from shim.protocol.turn.renewal import RenewedTokens
from shim.standin import make_access_token, make_refresh_token, make_session_token

NOW = 1_800_000_000.0
AUTH = "https://api.openai.com/auth"
ALICE = make_access_token("alice", "plus", NOW + 100)
REFRESH = make_refresh_token("alice")
LONGER = "rt_" + "Ab9-_." * 30
SESSION = make_session_token("alice")
TEAM = "0d5a1c3e-7d0c-452a-96e3-916f2457b083"


def jwt(claims):
    def part(value):
        raw = value if isinstance(value, bytes) else json.dumps(value).encode()
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    return f"{part({'alg': 'RS256'})}.{part(claims)}.sig"


# --- one line ---------------------------------------------------------------------------------------------------------


def credential(kind, secret, workspace_id=None):
    """What a line is read as: of the secrets only a JWT access token says anything of itself."""
    claims = read_claims(secret) if kind == "access" and secret.startswith("eyJ") else Claims()
    return Credential(kind, secret, workspace_id, claims)


@pytest.mark.parametrize(
    ("line", "kind", "secret"),
    [
        (ALICE, "access", ALICE),
        ("fk-abcdefgh12345678", "access", "fk-abcdefgh12345678"),
        (REFRESH, "refresh", REFRESH),
        (LONGER, "refresh", LONGER),
        (SESSION, "session", SESSION),
        (make_session_token("alice", length=8000), "session", make_session_token("alice", length=8000)),
        (f"  {REFRESH}\t", "refresh", REFRESH),
        (f"\ufeff{REFRESH}", "refresh", REFRESH),
        (f"Bearer {ALICE}", "access", ALICE),
        (f"bearer  {ALICE}", "access", ALICE),
        (f'"{REFRESH}"', "refresh", REFRESH),
        (f"'Bearer {ALICE}'", "access", ALICE),
        (f'"{REFRESH}",', "refresh", REFRESH),
        (f"__Secure-next-auth.session-token={SESSION}", "session", SESSION),
        (json.dumps({"user": {"id": "u,1"}, "accessToken": ALICE, "authProvider": "x"}), "access", ALICE),
    ],
)
def test_the_kinds(line, kind, secret):
    assert parse_credential(line) == credential(kind, secret)


def test_both_lengths_of_refresh_tokens():
    assert len(REFRESH) == 45
    assert len(LONGER) > 100
    with pytest.raises(ValueError):
        parse_credential(REFRESH[:-1])


@pytest.mark.parametrize("secret", [ALICE, REFRESH, SESSION, "fk-abcdefgh12345678"])
@pytest.mark.parametrize("form", ["{0},{1}", " {0} , {1} ", "Bearer {0},{1}", '"{0},{1}"', '"{0}",{1}'])
def test_a_workspace_after_the_comma(secret, form):
    credential = parse_credential(form.format(secret, TEAM))
    assert (credential.secret_token, credential.workspace_id) == (secret, TEAM)


WRONG = [
    ("", "there is no token before the comma"),
    (f",{TEAM}", "there is no token before the comma"),
    (f"{REFRESH},a b", "what follows the comma is not a workspace id"),
    (f"{REFRESH},{TEAM},{TEAM}", "what follows the comma is not a workspace id"),
    (f"{REFRESH},{'x' * 65}", "what follows the comma is not a workspace id"),
    ("sk-proj-" + "x" * 60, "this is an API key of the OpenAI platform, not a ChatGPT token"),
    ("too-short", "it is neither an access, a refresh nor a session token"),
    ("x" * 4097, "it is neither an access, a refresh nor a session token"),
    ("ü" * 45, "it is neither an access, a refresh nor a session token"),
    (REFRESH + "\r\nx-evil: 1", "it is neither an access, a refresh nor a session token"),
    (ALICE + "\u2028", None),
    ("eyJhbGciOi" + "x" * 60, "it is neither an access, a refresh nor a session token"),
    ("eyJ.a.b.c", "it is neither an access, a refresh nor a session token"),
    ("eyJhbGciOi.b m.x", "it is neither an access, a refresh nor a session token"),
    ("eyJhbGciOi.W10.sig", "it is not a JWT"),
    ('{"detail": "x"}', "it is JSON, but not an answer of /api/auth/session with an accessToken"),
    ('{"accessToken": 5}', "it is JSON, but not an answer of /api/auth/session with an accessToken"),
    ("{" + REFRESH, "it is JSON, but not an answer of /api/auth/session with an accessToken"),
]


@pytest.mark.parametrize(("line", "said"), [row for row in WRONG if row[1]])
def test_what_is_wrong_is_said_without_the_line(line, said):
    with pytest.raises(ValueError) as caught:
        parse_credential(line)
    assert str(caught.value) == said
    assert caught.value.__cause__ is None


# --- many lines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_file(end):
    lines = ["\ufeff# mine", "", REFRESH, "  # more", "nonsense", f"{REFRESH},{TEAM}", f" {REFRESH} ", ALICE, ""]
    good, bad = read_lines(end.join(lines))
    assert [number for number, _ in good] == [3, 6, 8]
    assert bad == [
        (5, "it is neither an access, a refresh nor a session token"),
        (7, "it is the same account as on line 3"),
    ]


def test_another_access_token_of_the_same_user_is_the_same_account():
    again = make_access_token("alice", "plus", NOW + 5000)
    assert read_lines(f"{ALICE}\n{again}\n{again},{TEAM}") == (
        [(1, credential("access", ALICE)), (3, credential("access", again, TEAM))],
        [(2, "it is the same account as on line 1")],
    )


def test_json_over_several_lines_is_one_credential():
    pasted = json.dumps({"user": {"id": "user-1"}, "accessToken": ALICE}, indent=2)
    assert read_lines("\n" + pasted) == ([(1, credential("access", ALICE))], [])
    assert read_lines(json.dumps({"x": 1}, indent=2))[1][0][0] == 1


def test_one_json_a_line():
    pasted = [json.dumps({"accessToken": make_access_token(name)}) for name in ("alice", "bob")]
    assert [number for number, _ in read_lines("\n".join(pasted))[0]] == [1, 2]


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff", "# only\n#comments", "{"])
def test_nothing_in_it(text):
    assert read_lines(text)[0] == []


def test_no_complaint_repeats_a_line():
    text = "\n".join(line.replace("\r\n", "") for line, _ in WRONG if line)
    complaints = str(read_lines(text)[1])
    assert not [line for line, _ in WRONG if len(line) > 10 and line in complaints]


# --- claims -----------------------------------------------------------------------------------------------------------


def test_what_is_read_of_an_access_token():
    claims = read_claims(make_access_token("alice", "team", NOW))
    assert claims.user.startswith("user-")
    assert (claims.plan, claims.expires, claims.issued) == ("team", NOW, NOW - 864_000)


@pytest.mark.parametrize(
    ("claims", "read"),
    [
        ({}, Claims()),
        ({"sub": "s", AUTH: {"chatgpt_user_id": "c", "user_id": "u"}}, Claims(user="c", is_openai=True)),
        ({"sub": "s", AUTH: {"user_id": "u"}}, Claims(user="u", is_openai=True)),
        ({"sub": "s", AUTH: {}}, Claims(user="s", is_openai=True)),
        ({"sub": "s", AUTH: "odd"}, Claims(user="s")),
        ({"chatgpt_plan_type": "free"}, Claims(plan="free")),
        ({"chatgpt_plan_type": "free", AUTH: {"chatgpt_plan_type": "plus"}}, Claims(plan="plus", is_openai=True)),
        ({"chatgpt_plan_type": "free", AUTH: {"chatgpt_plan_type": None}}, Claims(plan="free", is_openai=True)),
        ({"sub": 5, "exp": "soon", "chatgpt_plan_type": []}, Claims()),
        ({"exp": True}, Claims()),
        ({"exp": 5.5}, Claims(expires=5.5)),
        ({"iss": "https://auth.openai.com"}, Claims(is_openai=True)),
        ({"iss": "https://auth0.openai.com/"}, Claims(is_openai=True)),
        ({"aud": ["https://api.openai.com/v1"]}, Claims(is_openai=True)),
        ({"iss": "https://openai.com.evil.example", "aud": "https://evil.example/auth.openai.com"}, Claims()),
        ({"iss": "openai.com", "aud": ["notopenai.com", 5]}, Claims()),
        ({"client_id": "app_EMoamEEZ73f0CkXaXp7hrann"}, Claims(client="app_EMoamEEZ73f0CkXaXp7hrann")),
        ({"aud": ["app_EMoamEEZ73f0CkXaXp7hrann"]}, Claims(client="app_EMoamEEZ73f0CkXaXp7hrann")),
        ({"client_id": "other", "aud": "x"}, Claims()),
    ],
)
def test_claims(claims, read):
    assert read_claims(jwt(claims)) == read


@pytest.mark.parametrize("end", ["1e300", "1" + "0" * 15, "-1e300"])
def test_an_end_that_never_comes_is_none(end):
    assert read_claims(jwt(f'{{"exp": {end}}}'.encode())).expires is None


@pytest.mark.parametrize("raw", [b"[]", b'{"exp": 1e999}', b"\xff", b"{", b"[" * 5000, b'{"x":' * 5000, b""])
def test_what_is_no_jwt(raw):
    with pytest.raises(ValueError, match=r"^it is not a JWT$"):
        read_claims(jwt(raw))


# --- the account ------------------------------------------------------------------------------------------------------


def test_the_account_of_an_access_token():
    account = account_of(parse_credential(f"{ALICE},{TEAM}"), NOW)
    claims = read_claims(ALICE)
    assert account == Account(
        account_id(claims.user, TEAM, ""), claims.user, TEAM, "plus", ALICE, expires=NOW + 100, added=NOW
    )
    assert not account.renewable


@pytest.mark.parametrize(("line", "field"), [(REFRESH, "refresh_token"), (SESSION, "session_token")])
def test_the_account_of_what_has_to_be_exchanged_first(line, field):
    account = account_of(parse_credential(line), NOW)
    assert getattr(account, field) == line
    assert account.access_token is None
    assert account.renewable
    assert not account.is_fresh(NOW)


def test_an_id_is_of_the_user_and_the_workspace():
    one = account_of(parse_credential(ALICE), NOW)
    assert one.id == account_of(parse_credential(make_access_token("alice", "pro")), NOW).id
    assert one.id != account_of(parse_credential(f"{ALICE},{TEAM}"), NOW).id
    assert one.id != account_of(parse_credential(make_access_token("bob")), NOW).id
    assert account_of(parse_credential(REFRESH), NOW).id != account_of(parse_credential(LONGER), NOW).id
    assert len(one.id) == 16
    assert REFRESH[:16] != account_of(parse_credential(REFRESH), NOW).id


@pytest.mark.parametrize(
    ("expires", "ahead", "fresh"),
    [(NOW + 10, 0, True), (NOW + 10, 9, True), (NOW + 10, 10, False), (NOW, 0, False), (None, 1e9, True)],
)
def test_is_fresh(expires, ahead, fresh):
    assert Account("a", access_token=ALICE, expires=expires).is_fresh(NOW, ahead) is fresh
    assert not Account("a", expires=expires).is_fresh(NOW, ahead)


# --- secrets ----------------------------------------------------------------------------------------------------------

ACCOUNT = Account("id", access_token=ALICE, refresh_token=REFRESH, session_token=SESSION)
FRESH = RenewedTokens(ALICE, REFRESH, SESSION)


@pytest.mark.parametrize(
    "holder",
    [
        Credential("refresh", REFRESH),
        ACCOUNT,
        FRESH,
        Rotation(ACCOUNT, FRESH),
        RefreshRequest("refresh_token", "client", "uri", REFRESH),
        RefreshAnswer(ALICE, REFRESH, 5),
        SessionAnswer(ALICE),
        [ACCOUNT, {"a": FRESH}],
    ],
)
def test_no_struct_shows_a_secret(holder):
    console = Console(record=True, width=10_000, file=None, quiet=True)
    console.print(holder)
    for shown in (repr(holder), str(holder), f"{holder}", pretty_repr(holder), console.export_text()):
        assert not [secret for secret in (ALICE, REFRESH, SESSION) if secret in shown or secret[:20] in shown]


def test_but_tells_them_apart():
    assert fingerprint(ALICE) in repr(FRESH)
    assert "user=None" in repr(FRESH)
    assert "refresh_token=None" in repr(RenewedTokens(ALICE))


def test_and_is_still_stored_whole():
    assert msgspec.json.decode(msgspec.json.encode(ACCOUNT), type=Account) == ACCOUNT
