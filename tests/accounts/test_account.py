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
CODEX = "app_EMoamEEZ73f0CkXaXp7hrann"


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
        ("v1." + "M" * 90, "refresh", "v1." + "M" * 90),
        ("rt_" + "M" * 90 + "==", "refresh", "rt_" + "M" * 90 + "=="),
        ("Zb-_9" * 9, "refresh", "Zb-_9" * 9),
    ],
)
def test_the_kinds(line, kind, secret):
    assert parse_credential(line) == credential(kind, secret)


@pytest.mark.parametrize(
    ("more", "workspace_id", "client_id"),
    [
        (f",{CODEX}", None, CODEX),
        (f",{TEAM},{CODEX}", TEAM, CODEX),
        (f", {CODEX} , {TEAM}", TEAM, CODEX),
        (",pdlLIX2Y72MIl2rhLhTE9VV9bN905kBh", None, "pdlLIX2Y72MIl2rhLhTE9VV9bN905kBh"),
        (f",{TEAM}", TEAM, None),
    ],
)
def test_a_client_id_after_the_comma(more, workspace_id, client_id):
    read = parse_credential(LONGER + more)
    assert (read.secret_token, read.workspace_id, read.client_id) == (LONGER, workspace_id, client_id)
    assert account_of(read, NOW).client_id == client_id


@pytest.mark.parametrize("refresh", [LONGER, "rt_a----" + "b" * 40, REFRESH, "v1.----" + "b" * 90])
@pytest.mark.parametrize("access", [ALICE, jwt({"iss": "https://auth.openai.com"})[:-3] + "s----ig"])
def test_an_access_token_and_the_refresh_token_that_goes_with_it(access, refresh):
    read = parse_credential(f"{access}----{refresh},{TEAM}")
    assert (read.kind, read.secret_token, read.refresh_token, read.workspace_id) == ("access", access, refresh, TEAM)
    account = account_of(read, NOW)
    assert (account.access_token, account.refresh_token) == (access, refresh)
    assert parse_credential(access).refresh_token is None


def test_whose_refresh_token_it_is_may_be_in_the_access_token():
    access = make_access_token("alice", client_id=CODEX)
    assert parse_credential(f"{access}----{LONGER}").client_id == CODEX
    other = "app_LlGpXReQgckcGGUo2JrYvtJK"
    assert parse_credential(f"{access}----{LONGER},{other}").client_id == other


def test_both_lengths_of_refresh_tokens():
    assert len(REFRESH) == 45
    assert len(LONGER) > 100
    with pytest.raises(ValueError):
        parse_credential(("Zb-_9" * 9)[:-1])


@pytest.mark.parametrize("secret", [ALICE, REFRESH, SESSION, "fk-abcdefgh12345678"])
@pytest.mark.parametrize("form", ["{0},{1}", " {0} , {1} ", "Bearer {0},{1}", '"{0},{1}"', '"{0}",{1}'])
def test_a_workspace_after_the_comma(secret, form):
    credential = parse_credential(form.format(secret, TEAM))
    assert (credential.secret_token, credential.workspace_id) == (secret, TEAM)


NEITHER = "it is neither an access, a refresh nor a session token"
FOREIGN = "it is the token of another service: it names OpenAI neither as issuer nor as audience"
# As long as a refresh token of the old form, or longer, and other people's.
FOREIGN_KEYS = [
    "github_pat_" + "A" * 82,
    "xai-" + "A" * 80,
    "gsk_" + "A" * 52,
    "0123456789abcdef" * 8,
    "v1.0-" + "0123456789abcdef0123abcd" + "-" + "0123456789abcdef" * 9 + "01",  # Cloudflare, origin CA
    "v1." + "0123456789abcdef0123" * 2,  # GitHub, an app's installation
    *((prefix + "A" * 45)[:45] for prefix in (
        "ghp_", "gho_", "glpat-", "hf_", "xoxb-", "AIza", "AKIA", "npm_", "pypi-", "gsk_", "xai-", "pk_", "rt-", "eyJ",
        "github_pat_", "pplx-", "nvapi-", "r8_", "fk_", "sk_", "api-",
    )),
]  # fmt: skip
WRONG = [
    ("", "there is no token before the comma"),
    (f",{TEAM}", "there is no token before the comma"),
    *(
        (f"{REFRESH},{words}", "what follows the comma is neither a workspace id nor a client id")
        for words in ("a b", f"{TEAM},{TEAM}", "x" * 65, f"{CODEX},{CODEX}", "app_x", f"{TEAM},{CODEX},{TEAM}")
    ),
    (f"{ALICE},{CODEX}", "a client id goes with a refresh token, and this is none"),
    (f"{SESSION},{CODEX}", "a client id goes with a refresh token, and this is none"),
    (jwt({"sub": "somebody"}), FOREIGN),
    (jwt({"iss": "https://openai.com.evil.example", "sub": "somebody"}), FOREIGN),
    *((key, NEITHER) for key in FOREIGN_KEYS),
    (f"{REFRESH}----{ALICE}", NEITHER),
    ("x" * 46, NEITHER),
    ("v1.short", NEITHER),
    ("rt_short", NEITHER),
    ("=" * 45, NEITHER),
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
]


@pytest.mark.parametrize(("line", "said"), [row for row in WRONG if row[1]])
def test_what_is_wrong_is_said_without_the_line(line, said):
    with pytest.raises(ValueError) as caught:
        parse_credential(line)
    assert str(caught.value) == said
    assert caught.value.__cause__ is None


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
        ({"sub": "\x1b[2J", "chatgpt_plan_type": "plus\u202e"}, Claims()),
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
    id, mail = account_id(claims.user, TEAM, ""), "al…@example.test"
    assert account == Account(id, claims.user, TEAM, "plus", ALICE, expires=NOW + 100, added=NOW, mail=mail)
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
