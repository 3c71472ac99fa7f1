"""`chat2api import`: what the original chat2api (lanqian528/chat2api) keeps, taken over.

Rule: values of settings are never printed, for keys and passwords are among them; a name is.
"""

import difflib
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from shim.cli.tokens import GIVEN_UP_THERE, print_report, run_on_pool

if TYPE_CHECKING:
    from shim.accounts.pool import AccountPool

# How alike a misspelt name has to be (difflib): lower, and names that are somebody else's would be taken for ours.
_NEAR = 0.8
_SHOWN = re.compile(r"^\w+ is (?:\(not shown\)|'.*'|\".*\"): ", re.S)  # of a complaint: the name and the value

# Names the original reads, in its versions up to now: ours that means the same, or "" and why there is none.
SAME = "the same"
NAMES: dict[str, tuple[str, str]] = {
    "API_PREFIX": ("API_PREFIX", SAME),
    "AUTHORIZATION": ("AUTHORIZATION", SAME),
    "ADMIN_PASSWORD": ("ADMIN_KEY", "the key of the accounts page"),
    "AUTH_KEY": ("", "a header for private gateways, which is not sent"),
    "X_SIGN": ("", "a header for private gateways, which is not sent"),
    "CHATGPT_BASE_URL": ("CHATGPT_BASE_URL", SAME),
    "PROXY_URL": ("PROXY_URL", SAME),
    "SENTINEL_PROXY_URL": ("", "all calls of an account go the same way: see `chat2api tokens proxy`"),
    "EXPORT_PROXY_URL": ("", "files are fetched from here, with a guard against private addresses"),
    "ARK0SE_TOKEN_URL": ("ARKOSE_TOKEN_URL", "spelt with an O, and one address"),
    "ARKOSE_TOKEN_URL": ("ARKOSE_TOKEN_URL", "one address"),
    "HISTORY_DISABLED": ("HISTORY_DISABLED", SAME),
    "FORCE_NO_HISTORY": ("HISTORY_DISABLED", "true is the default here"),
    "POW_DIFFICULTY": ("POW_DIFFICULTY", SAME),
    "RETRY_TIMES": ("RETRY_TIMES", SAME),
    "CONVERSATION_ONLY": ("CONVERSATION_ONLY", SAME),
    "ENABLE_GATEWAY": ("ENABLE_GATEWAY", "a chat page of our own, and no mirror of upstream's"),
    "USER_AGENTS": ("USER_AGENT", "one, and the same for all: browsers are not made up"),
    "CHAT_REQUEST_TIMEOUT": ("FIRST_BYTE_TIMEOUT", "and IDLE_TIMEOUT, TOTAL_TIMEOUT for the rest of an answer"),
    "CHAT_REQUIREMENTS_TIMEOUT": ("FIRST_BYTE_TIMEOUT", "which is for all that comes before the answer"),
    "OPENAI_AUTH_CLIENT_ID": ("OAUTH_CLIENT_ID", "tried first"),
    "OPENAI_AUTH_TOKEN_URL": ("OAUTH_URL", SAME),
    "ACCOUNT_MAX_WAIT_SECONDS": ("FIRST_BYTE_TIMEOUT", "a request waits for an account no longer than that"),
    "ENABLE_SESSION_STICKY": ("CONTINUE_CHATS", "and sessions stay with an account by `x-session-id` in any case"),
    "ENABLE_LIMIT": ("", "limits of upstream's are always honoured"),
    "UPLOAD_BY_URL": ("", "files are parts of a message, as in OpenAI's API"),
    "CHECK_MODEL": ("", "models are always looked up: an unknown one is a 404, or DEFAULT_MODEL"),
    "SCHEDULED_REFRESH": ("", "tokens are always renewed before they end"),
    "RANDOM_TOKEN": ("", "the account that has been unused longest takes a turn"),
    "NO_SENTINEL": ("", "requirements are always asked for, but with CONVERSATION_ONLY"),
    "AUTO_SEED": ("", "there is no mirror of upstream's page here"),
    "INIT_TOKENS": ("", "add accounts by `chat2api tokens add`"),
    "INIT_PROXIES": ("", "see PROXY_URL and `chat2api tokens proxy`"),
    "TURNSTILE_SOLVER_URL": ("", "Turnstile is not solved here"),
    "ADMIN_IP_WHITELIST": ("", "let a proxy or a firewall do this"),
    "ADMIN_TRUST_PROXY": ("", "forwarded addresses are never believed"),
    "CF_FILE_URL": ("", "upstream's files are fetched by `/files` links"),
    "FILE_HOST": ("", "upstream says where its files are"),
    "VOICE_HOST": ("", "voice calls are not passed on"),
}
_BROWSERS = "browsers are not made up here"
_PACING = "no pace is made up: an account has as many turns at once as ACCOUNT_LIMIT or `chat2api tokens limit` says"
_FAMILIES = {
    **dict.fromkeys(("IMPERSONATE", "DEVICE_TUPLE", "BROWSER_TUPLE", "PLATFORM_TUPLE", "CLIENT_TIMEZONE"), _BROWSERS),
    **dict.fromkeys(("CLIENT_TIMEZONE_OFFSET_MIN", "OAI_LANGUAGE", "ACCEPT_LANGUAGE"), _BROWSERS),
    **dict.fromkeys(("OAI_CLIENT_VERSION", "OAI_CLIENT_BUILD_NUMBER"), _BROWSERS),
    **dict.fromkeys(("ENABLE_ANTIBAN", "STRICT_IP_BINDING", "BUCKET_MAX_ACCOUNTS_PER_IP"), _PACING),
    **dict.fromkeys(("ACCOUNT_MIN_INTERVAL_SECONDS", "FREE_ACCOUNT_MIN_INTERVAL_SECONDS"), _PACING),
    **dict.fromkeys(("ACCOUNT_COOLDOWN_JITTER", "CIRCUIT_429_COOLDOWN", "CIRCUIT_403_COOLDOWN"), _PACING),
}
NAMES |= {name: ("", why) for name, why in _FAMILIES.items()}


@click.command("import")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--env",
    "env_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The file with its settings; else .env in FOLDER or beside it.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be taken, and change nothing.")
def import_original(folder: Path, env_file: Path | None, *, dry_run: bool) -> None:
    """Take over the data of the original chat2api: FOLDER is its data folder, or the one that has it.

    Read are token.txt, refresh_map.json and error_token.txt; there is a result for every line, and an account that is
    there twice is taken once. Of its settings it is said which of ours mean the same; write those into .env yourself.
    Stop the original first: a refresh token is good once. The exit code is 1 if a line was refused.
    """
    from shim.accounts.original import FILES, NOT_TAKEN, read_original  # noqa: PLC0415

    data = folder / "data" if not (folder / FILES[0]).exists() and (folder / "data").is_dir() else folder
    texts = {name: _read(data / name) for name in FILES if (data / name).is_file()}
    if not texts:
        raise click.ClickException(f"{folder} has none of {', '.join(FILES)}: is it the original's data folder?")
    found = read_original(texts)

    async def work(pool: "AccountPool") -> bool:
        return print_report(await pool.add_lines(found.lines), len(pool), given_up=found.given_up)

    if dry_run:
        for line in found.lines:
            aside = GIVEN_UP_THERE if line.where in found.given_up else ""
            click.echo(f"{line.where}: {line.why or 'would be taken'}{aside}")
        refused = any(line.credential is None and not line.passed for line in found.lines)
    else:
        refused = run_on_pool(work)
    for name, why in NOT_TAKEN.items():
        if (data / name).exists():
            click.echo(f"{name}: not taken ({why})")
    env = env_file or next((one for one in (folder / ".env", data.parent / ".env") if one.is_file()), None)
    for told in told_of(env_names(_read(env))) if env is not None else ():
        click.echo(told)
    sys.exit(refused)


def env_names(text: str) -> dict[str, str]:
    """The variables of a file: `NAME=value` a line, also with `export`, or as a list of Compose's (`- NAME=value`)."""
    found = {}
    for raw in text.splitlines():
        line = raw.strip().removeprefix("- ").strip().removeprefix("export ").strip()
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#") and name.strip().isidentifier():
            found[name.strip()] = value.partition(" #")[0].strip().strip("\"'")
    return found


def told_of(given: Mapping[str, str]) -> Iterator[str]:
    """A line for each setting of the original's, and for what seems to be one."""
    from shim.settings import SettingError, load_settings  # noqa: PLC0415

    for name, value in given.items():
        known = NAMES.get(name)
        if known is None:
            meant = next(iter(difflib.get_close_matches(name.upper(), NAMES, 1, _NEAR)), None)
            if meant is None:
                continue
            ours, about = NAMES[meant]
            use = f"use {ours}" if ours else f"there is no counterpart: {about}"
            yield f"{name}: misspelt, so the original ignored it; {meant} is meant, perhaps: {use}"
            continue
        ours, about = known
        if not ours:
            yield f"{name}: no counterpart: {about}"
            continue
        yield f"{name}: {ours}" + (f" ({about})" if about != SAME else "")
        if about == SAME and value:
            try:
                load_settings({ours: value}, dotenv=Path("/nonexistent"))
            except SettingError as error:
                yield f"{name}: its value can't be used as it is: {_SHOWN.sub('', str(error))}"


def _read(path: Path) -> str:
    from shim.accounts.imports import text_of  # noqa: PLC0415

    try:
        return text_of(path.read_bytes())
    except ValueError as error:
        raise click.ClickException(f"{path} can't be read: {error}") from error
    except OSError as error:
        raise click.ClickException(f"{path} can't be read: {error.strerror}") from error
