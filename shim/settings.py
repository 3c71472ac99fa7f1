"""Settings: the environment, a `.env` file and flags, into one frozen struct, checked once at start.

Rule: nothing is read at import time. A flag beats the environment, the environment beats `.env`, an empty value means
the default, and a bad value stops the start with its name, itself and what is allowed. Each field carries the sentence
the README's table shows; a test keeps the two equal.

A secret may also be in a file of its own: `AUTHORIZATION_FILE=/run/secrets/keys` stands for what is in that file.
Secrets have no other flag than `--authorization-file`, because everybody on the machine can read a command line.
"""

import os
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from dotenv import dotenv_values
from msgspec import Meta

from shim.protocol.models import ModelAlias, alias_of

# Settings whose value is never shown, not even when it is wrong, and never given on the command line.
SECRET = frozenset({"AUTHORIZATION", "ADMIN_KEY", "PROXY_URL", "REDIS_URL", "STORE_KEY", "ARKOSE_TOKEN_URL"})

Seconds = Annotated[float, Meta(gt=0, le=86400)]
Words = tuple[str, ...]


class Settings(msgspec.Struct, frozen=True):
    """Every setting. Names on the outside are the upper-case field names."""

    host: Annotated[str, Meta(description="Address to listen on. A public one needs AUTHORIZATION.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="Port to listen on.")] = 5005
    workers: Annotated[int, Meta(ge=1, le=64, description="Worker processes.")] = 1
    api_prefix: Annotated[str, Meta(description="Hides every path below `/{prefix}`.")] = ""
    authorization: Annotated[Words, Meta(description="Keys clients must send as bearer, separated by commas.")] = ()
    own_tokens: Annotated[
        bool, Meta(description="Serve callers who send an account's own token in the place of a key.")
    ] = True
    admin_key: Annotated[str, Meta(description="Key of the admin pages (empty: loopback only).")] = ""
    chatgpt_base_url: Annotated[Words, Meta(description="Upstream's origin; several by comma.")] = (
        "https://chatgpt.com",
    )
    oauth_url: Annotated[str, Meta(description="Where refresh tokens are exchanged.")] = (
        "https://auth.openai.com/oauth/token"
    )
    oauth_client_id: Annotated[
        str,
        Meta(pattern="^[A-Za-z0-9_-]{0,80}$", description="Client id to try first for refresh tokens."),
    ] = ""
    proxy_url: Annotated[Words, Meta(description="Proxies towards upstream (http, https, socks5), by comma.")] = ()
    arkose_token_url: Annotated[str, Meta(description="Your own Arkose token service.")] = ""
    history_disabled: Annotated[bool, Meta(description="Temporary chats: not saved, not listed upstream.")] = True
    kept_for_handoff: Annotated[
        bool,
        Meta(description="Ask models that finish elsewhere (Pro, Work, research) in kept chats, deleted afterwards."),
    ] = False
    pow_difficulty: Annotated[
        str,
        Meta(pattern="^[0-9a-f]{1,64}$", description="Proofs of work harder (smaller) than this are refused untried."),
    ] = "000032"
    pow_workers: Annotated[
        int, Meta(ge=0, le=64, description="Hard proofs of work solved at once (0: one for each core).")
    ] = 0
    sentinel: Annotated[
        Literal["auto", "one-step", "two-step"],
        Meta(description="Which form of the requirements call is used (auto: two steps, one where those are refused)."),
    ] = "auto"
    turnstile: Annotated[
        Literal["pass", "refuse"],
        Meta(description="When upstream asks for a check not done here: go on without it, or refuse at once."),
    ] = "pass"
    conversation_only: Annotated[bool, Meta(description="Send bare conversations: upstream is a gateway too.")] = False
    retry_times: Annotated[int, Meta(ge=0, le=20, description="Further tries before the first byte went out.")] = 3
    enable_gateway: Annotated[
        bool, Meta(description="Serve the web page and the gateway endpoints (by default only on a loopback HOST).")
    ] = True
    strict_params: Annotated[bool, Meta(description="Refuse request fields that have no effect here (400).")] = False
    continue_times: Annotated[
        int, Meta(ge=0, le=10, description="How often an answer cut by its length is continued automatically.")
    ] = 0
    continue_chats: Annotated[
        bool, Meta(description="Send only the new turn where the history is one we answered (needs kept chats).")
    ] = False
    default_model: Annotated[str, Meta(description="The model that stands in for unknown names (empty: 404).")] = ""
    model_aliases: Annotated[
        Words,
        Meta(
            description="Names that stand for models: `name=model[:effort]`, by comma; `name*` for all that begin so."
        ),
    ] = ()
    public_base_url: Annotated[str, Meta(description="The address clients reach this gateway at.")] = ""
    account_limit: Annotated[int, Meta(ge=1, le=100, description="Turns one account may have at once.")] = 4
    data_dir: Annotated[str, Meta(description="Where state is kept.")] = "data"
    redis_url: Annotated[str, Meta(description="Redis or Valkey shared by several machines.")] = ""
    store_key: Annotated[
        Words, Meta(description="Keys (Fernet) that seal stored tokens and notes; the first seals, all open.")
    ] = ()
    cors_origins: Annotated[Words, Meta(description="Web origins that may call, by comma (`*`: any).")] = ()
    allow_private_urls: Annotated[Words, Meta(description="`host[:port]` that file URLs may name though private.")] = ()
    ca_file: Annotated[str, Meta(description="File of certificates trusted upstream (empty: built in).")] = ""
    user_agent: Annotated[
        str, Meta(min_length=1, max_length=300, description="How we introduce ourselves upstream.")
    ] = "chat2api/0.1"
    connect_timeout: Annotated[Seconds, Meta(description="Seconds to reach upstream.")] = 10.0
    first_byte_timeout: Annotated[Seconds, Meta(description="Seconds until upstream begins to answer.")] = 60.0
    idle_timeout: Annotated[Seconds, Meta(description="Seconds upstream may be silent within an answer.")] = 120.0
    total_timeout: Annotated[Seconds, Meta(description="Seconds for a whole answer.")] = 1800.0
    early_head: Annotated[
        float,
        Meta(ge=0, le=3600, description="Seconds until a stream without a first event begins all the same (0: never)."),
    ] = 15.0
    arkose_timeout: Annotated[Seconds, Meta(description="Seconds the Arkose service may take.")] = 15.0
    shutdown_timeout: Annotated[
        int, Meta(ge=1, le=86400, description="Seconds open streams get when the server stops.")
    ] = 10
    max_request_bytes: Annotated[int, Meta(ge=1024, description="Largest request body.")] = 33554432
    max_bytes_under_way: Annotated[
        int, Meta(ge=1024, description="Bytes of request bodies one worker holds at once; beyond, 503.")
    ] = 268435456
    max_file_bytes: Annotated[int, Meta(ge=1024, description="Largest file or picture in a request.")] = 20971520
    max_answer_bytes: Annotated[int, Meta(ge=1024, description="Longest answer; one that goes on beyond it fails.")] = (
        16777216
    )
    file_timeout: Annotated[Seconds, Meta(description="Seconds a file may take to be fetched from its URL.")] = 30.0
    replay: Annotated[str, Meta(description="Folder of cassettes that take upstream's place.")] = ""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], Meta(description="How much is logged.")] = "info"
    log_format: Annotated[Literal["text", "json"], Meta(description="Form of the log's lines.")] = "text"

    @property
    def is_public(self) -> bool:
        """Whether HOST lets other machines in."""
        if self.host == "localhost":
            return False
        try:
            return not ip_address(self.host).is_loopback
        except ValueError:
            return True

    def address(self, called: str) -> str:
        """Where clients reach this gateway, with the prefix and without a slash at the end: PUBLIC_BASE_URL, with or
        without the prefix as people write it, or else the address they `called`, which has none."""
        return (self.public_base_url.rstrip("/") or called).removesuffix(self.root_path) + self.root_path

    @property
    def aliases(self) -> tuple[ModelAlias, ...]:
        """MODEL_ALIASES, read."""
        return tuple(map(alias_of, self.model_aliases))

    @property
    def root_path(self) -> str:
        """What every path begins with: "" or "/prefix"."""
        prefix = self.api_prefix.strip("/")
        return f"/{prefix}" if prefix else ""


class SettingError(ValueError):
    """A setting can't be used. The text is for the person who starts the server."""


def load_settings(
    environment: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None, *, dotenv: Path | None = None
) -> Settings:
    """Settings from flags (by field name), then the environment, then a `.env` file (default: in this folder).

    Raises SettingError naming the variable, its value and what is allowed.
    """
    given: dict[str, str] = {}
    for source in (
        dotenv_values(dotenv or Path(".env")),
        os.environ if environment is None else environment,
        as_environment(flags or {}),
    ):
        given |= _with_files({name: value for name, value in source.items() if value})
    values = {}
    for field, kind in _FIELDS.items():
        name = field.upper()
        if text := given.get(name, "").strip():
            values[field] = _parse(name, text, kind)
    settings = Settings(**values)
    if "enable_gateway" not in values and settings.is_public:
        settings = msgspec.structs.replace(settings, enable_gateway=False)
    _check(settings)
    return settings


def as_environment(flags: Mapping[str, Any]) -> dict[str, str]:
    """Flags as environment variables, for the worker processes to read. A flag that names a file empties the variable
    it stands for, which may be in the environment already."""
    variables = {name.upper(): str(value) for name, value in flags.items() if value is not None}
    emptied = {name.removesuffix("_FILE"): "" for name in variables if name.removesuffix("_FILE") in SECRET}
    return emptied | variables


def describe() -> list[tuple[str, str, str]]:
    """(variable, default, what it is) for every setting, in order: the README's table."""
    rows = []
    for field in msgspec.structs.fields(Settings):
        meta = next(one for one in field.type.__metadata__ if isinstance(one, Meta) and one.description)
        rows.append((field.name.upper(), _shown(field.default), str(meta.description)))
    return rows


class Flag(msgspec.Struct, frozen=True):
    """A setting on the command line: `name` is that of its field, or of its field and `_file`."""

    name: str
    help: str
    is_switch: bool = False


def flags() -> list[Flag]:
    """The flags of `chat2api serve`: one for every setting, for secrets the file they are in."""
    made = []
    for variable, default, text in describe():
        if variable in SECRET:
            made.append(Flag(f"{variable.lower()}_file", f"File that holds {variable}. {text}"))
        else:
            shown = f"{text} [{variable}{f'; default: {default}' if default else ''}]"
            made.append(Flag(variable.lower(), shown, _FIELDS[variable.lower()].__origin__ is bool))
    return made


def _with_files(given: dict[str, str]) -> dict[str, str]:
    """The variables, each NAME_FILE of a secret replaced by NAME with what is in the file: of a list, one a line."""
    for name in SECRET:
        path = given.pop(f"{name}_FILE", None)
        if path is None:
            continue
        if name in given:
            raise SettingError(f"{name} and {name}_FILE are both set: remove one of them")
        try:
            text = Path(path).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
            raise SettingError(f"{name}_FILE is {path!r}, which can't be read: {why}") from error
        given[name] = text.replace("\n", ",") if get_origin(_FIELDS[name.lower()].__origin__) is tuple else text
    return given


def _shown(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case tuple():
            return ",".join(value)
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _parse(name: str, text: str, kind: Any) -> Any:
    plain = kind.__origin__
    value: Any = text
    if get_origin(plain) is tuple:
        value = tuple(word for part in text.split(",") if (word := part.strip()))
    elif plain is bool:
        value = _FLAGS.get(text.lower(), text)
    try:
        return msgspec.convert(value, kind, strict=False)
    except msgspec.ValidationError:
        raise _wrong(name, text, f"allowed is {_allowed(plain, kind.__metadata__)}") from None


def _allowed(plain: Any, bounds: tuple[Meta, ...]) -> str:
    """What a setting of this type may be, in words."""
    if plain is bool:
        return "true or false"
    if get_origin(plain) is Literal:
        return f"one of {', '.join(plain.__args__)}"
    bound = {key: value for meta in bounds for key in _BOUNDS if (value := getattr(meta, key)) is not None}
    if "pattern" in bound:
        return f"what matches {bound['pattern']}"
    if "max_length" in bound:
        return f"a text of {bound['min_length']} to {bound['max_length']} characters"
    low, high = bound.get("ge", bound.get("gt")), bound.get("le")
    limits = [f"more than {low}" if "gt" in bound else f"{low} or more", *([f"at most {high}"] if high else [])]
    return f"a {'whole ' if plain is int else ''}number, {' and '.join(limits)}"


def _wrong(name: str, text: str, allowed: str) -> SettingError:
    shown = "(not shown)" if name in SECRET else repr(text)
    return SettingError(f"{name} is {shown}: {allowed}")


def _check(settings: Settings) -> None:
    """Checks that types can't make: URLs, the prefix, and that nobody listens publicly without a key."""
    for name in ("chatgpt_base_url", "proxy_url"):
        for url in getattr(settings, name):
            _check_url(name.upper(), url, _PROXY_SCHEMES if name == "proxy_url" else _HTTP)
    for name in ("oauth_url", "arkose_token_url", "public_base_url"):
        if url := getattr(settings, name):
            _check_url(name.upper(), url, _HTTP)
    if not all(_is_path_word(word) for word in settings.root_path.split("/")[1:]):
        raise _wrong("API_PREFIX", settings.api_prefix, "letters, digits, '-', '_' and '.' only")
    try:
        _ = settings.aliases
    except ValueError as error:
        wanted = (
            "each is 'name=model' or 'name=model:effort', with an effort of none, minimal, low, medium, high or xhigh"
        )
        raise _wrong("MODEL_ALIASES", str(error), wanted) from None
    if settings.is_public and not settings.authorization:
        raise SettingError(
            f"HOST is {settings.host!r}, which other machines can reach, and AUTHORIZATION is empty: "
            "set AUTHORIZATION to one or more keys, or HOST to 127.0.0.1"
        )


def _check_url(name: str, url: str, schemes: frozenset[str]) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise _wrong(name, url, f"a URL with a host is needed ({', '.join(sorted(schemes))})")


def _is_path_word(word: str) -> bool:
    return word not in {"", ".", ".."} and all(letter.isalnum() or letter in "-_." for letter in word)


_BOUNDS = ("pattern", "min_length", "max_length", "ge", "gt", "le")
_HTTP = frozenset({"http", "https"})
_PROXY_SCHEMES = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})
_FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_FIELDS = get_type_hints(Settings, include_extras=True)
