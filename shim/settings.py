"""Settings: the environment, a `.env` file and flags, into one frozen struct, checked once at start.

Rule: nothing is read at import time. A flag beats the environment, the environment beats `.env`, an empty value means
the default, and a bad value stops the start with its name, itself and what is allowed. Each field carries the sentence
the table in docs/settings.md shows; a test keeps the two equal.

A secret may also be in a file of its own: `AUTHORIZATION_FILE=/run/secrets/keys` stands for what is in that file.
Secrets have no other flag than `--authorization-file`, because everybody on the machine can read a command line.
"""

import difflib
import os
import re
import socket
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
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

    # Loopback, because a gateway without a key hands its accounts to whoever reaches it: a person has to say otherwise.
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
    # Kept chats would fill the history of the people whose accounts these are, with requests of programs.
    history_disabled: Annotated[bool, Meta(description="Temporary chats: not saved, not listed upstream.")] = True
    kept_for_handoff: Annotated[
        bool,
        Meta(
            description="Ask models that finish elsewhere (Pro, Work, research) in kept chats, deleted (with links: "
            "archived) afterwards."
        ),
    ] = False
    # Each digit fewer costs sixteen times the attempts: beyond it a proof would take all cores for longer than a client
    # waits (protocol.md 2.3).
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
    requirements_ahead: Annotated[
        bool,
        Meta(description="Ask for the next turn's requirements, and prove, while an answer comes: it begins sooner."),
    ] = False
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
    background_timeout: Annotated[
        Seconds, Meta(description="Seconds for a whole answer in the background (`background: true`).")
    ] = 10800.0
    # Proxies give up on a head that does not come (nginx after 60 s), and clients then ask for everything again.
    early_head: Annotated[
        float,
        Meta(ge=0, le=3600, description="Seconds until a stream without a first event begins all the same (0: never)."),
    ] = 15.0
    arkose_timeout: Annotated[Seconds, Meta(description="Seconds the Arkose service may take.")] = 15.0
    worker_timeout: Annotated[
        float,
        Meta(ge=0, le=86400, description="Seconds a worker may hang before another takes its place (0: for ever)."),
    ] = 60.0
    shutdown_timeout: Annotated[
        int, Meta(ge=1, le=86400, description="Seconds open streams get when the server stops.")
    ] = 10
    # Room for a file of MAX_FILE_BYTES in base64, a third larger, and for the words around it.
    max_request_bytes: Annotated[int, Meta(ge=1024, description="Largest request body.")] = 33554432
    max_streams: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="Answers open at once, shared out among the workers; beyond, calls wait."),
    ] = 4000
    max_waiting: Annotated[
        int, Meta(ge=0, le=1_000_000, description="Calls that may wait for that, likewise; beyond, 503 at once.")
    ] = 1000
    max_bytes_under_way: Annotated[
        int, Meta(ge=1024, description="Bytes of request bodies one worker holds at once; beyond, 503.")
    ] = 268435456
    max_file_bytes: Annotated[int, Meta(ge=1024, description="Largest file or picture in a request.")] = 20971520
    max_upload_bytes: Annotated[int, Meta(ge=1024, description="Largest file that /v1/files takes.")] = 104857600
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
        address = self.numeric_host
        return self.host.lower() != "localhost" if address is None else not address.is_loopback

    @property
    def numeric_host(self) -> IPv4Address | IPv6Address | None:
        """HOST as a number, in whatever spelling; None for a name."""
        try:
            return ip_address(self.host)
        except ValueError:
            pass
        try:
            return IPv4Address(socket.inet_aton(self.host))  # as the system reads it: `127.1`, `0`
        except (OSError, UnicodeError):
            return None

    def address(self, called: str) -> str:
        """Where clients reach this gateway, with the prefix and without a slash at the end: PUBLIC_BASE_URL, with or
        without the prefix as people write it, or else the address they `called`, which has none."""
        prefix = self.root_path
        return (self.public_base_url.rstrip("/") or called).removesuffix(prefix) + prefix

    @property
    def aliases(self) -> tuple[ModelAlias, ...]:
        """MODEL_ALIASES, read."""
        return tuple(map(alias_of, self.model_aliases))

    @property
    def root_path(self) -> str:
        """What every path begins with: "" or "/prefix"."""
        prefix = self.api_prefix.strip("/")
        return f"/{prefix}" if prefix else ""


Origin = Literal["default", ".env", "environment", "flag"]
# Stands for what is never shown.
HIDDEN = "(not shown)"


class EffectiveSetting(msgspec.Struct, frozen=True):
    """A setting as it is in effect: its value as it would be written (None for a secret that is set), where that is
    from, the file it was read from, if any, and what it is without."""

    name: str
    value: str | None
    origin: Origin
    file: str
    default: str


class _Given(msgspec.Struct, frozen=True):
    """A variable's text, where it is from, and the file it was read from, if any."""

    text: str
    origin: Origin
    file: str = ""


class SettingError(ValueError):
    """A setting can't be used. The text is for the person who starts the server."""


def load_settings(
    environment: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None, *, dotenv: Path | None = None
) -> Settings:
    """Settings from flags (by field name), then the environment, then a `.env` file (default: in this folder).

    Raises SettingError naming the variable, its value and what is allowed.
    """
    given = _given(environment, flags, dotenv)
    values = {
        field: _parse(name, given[name].text, kind)
        for field, kind in _FIELDS.items()
        if (name := field.upper()) in given
    }
    settings = _normal(Settings(**values))
    # Where other machines reach HOST, the pages and the backend's own paths are for those who ask for them.
    if "enable_gateway" not in values and settings.is_public:
        settings = msgspec.structs.replace(settings, enable_gateway=False)
    _check(settings)
    return settings


def effective(
    environment: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None, *, dotenv: Path | None = None
) -> list[EffectiveSetting]:
    """What `load_settings` makes of the same arguments, a row for each setting, in order. Raises what it raises."""
    settings = load_settings(environment, flags, dotenv=dotenv)
    given = _given(environment, flags, dotenv)
    rows = []
    for name, default, _ in describe():
        text = _shown(getattr(settings, name.lower()))
        hidden = bool(text) and name in SECRET
        source = given.get(name, _Given("", "default"))
        shown = None if hidden else _without_passwords(text)
        rows.append(EffectiveSetting(name, shown, source.origin, source.file, default))
    return rows


def _given(
    environment: Mapping[str, str] | None, flags: Mapping[str, Any] | None, dotenv: Path | None
) -> dict[str, _Given]:
    """The variables that are set, by name. Of several sources the later wins."""
    sources: tuple[tuple[Origin, Mapping[str, str | None]], ...] = (
        (".env", _dotenv(dotenv or Path(".env"))),
        ("environment", os.environ if environment is None else environment),
        ("flag", as_environment(flags or {})),
    )
    given: dict[str, _Given] = {}
    for origin, source in sources:
        variables = {name: value for name, value in source.items() if value}
        files = {name: variables.get(f"{name}_FILE", "") for name in SECRET}
        for name, text in _with_files(variables).items():
            text = text.strip()  # noqa: PLW2901
            # `docker --env-file` leaves a pair of quotes around what had one.
            if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
                text = text[1:-1].strip()  # noqa: PLW2901
            given[name] = _Given(text, origin, files.get(name, ""))
    return {name: one for name, one in given.items() if one.text}


def _dotenv(path: Path) -> Mapping[str, str | None]:
    try:
        return dotenv_values(path)
    except UnicodeDecodeError:
        raise SettingError(
            f"{path} is not text in UTF-8 (PowerShell's `>` writes UTF-16): save it again in UTF-8"
        ) from None


def _normal(settings: Settings) -> Settings:
    """The same with what people type in several ways in the one that is meant. Raises SettingError."""
    public = settings.public_base_url
    if public:
        _check_url("PUBLIC_BASE_URL", public, _HTTP)
        public = public.rstrip("/").removesuffix("/v1").rstrip("/")  # the base URL that clients are given
        if not public.endswith(settings.root_path):
            public += settings.root_path
    return msgspec.structs.replace(
        settings,
        host=settings.host.removeprefix("[").removesuffix("]"),
        public_base_url=public,
        cors_origins=tuple(map(_web_origin, settings.cors_origins)),
        data_dir=_at_home(settings.data_dir),
        ca_file=_at_home(settings.ca_file),
        replay=_at_home(settings.replay),
    )


def _at_home(path: str) -> str:
    """A path whose `~` no shell has replaced, as in `.env` and in unit files: a folder of that name would be made."""
    return os.path.expanduser(path)


def _web_origin(text: str) -> str:
    """A web origin as browsers send it. Raises SettingError."""
    if text == "*":
        return text
    try:
        parts = urlsplit(text.strip().lower())
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    plain = parts.path in {"", "/"} and not parts.query and not set(" @") & set(text)
    if parts.scheme not in _HTTP or not parts.hostname or not plain:
        raise _wrong(
            "CORS_ORIGINS", text, "an origin is a scheme and a host, like https://page.example, or `*` for any"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    shown = "" if port in {None, {"http": 80, "https": 443}[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{host}{shown}"


def concerns(settings: Settings, environment: Mapping[str, str] | None = None, dotenv: Path | None = None) -> list[str]:
    """What can work and is probably not meant, a sentence each."""
    told = []
    given = {**_dotenv(dotenv or Path(".env")), **(os.environ if environment is None else environment)}
    known = {variable for variable, _, _ in describe()}
    # A name that is nearly one of ours is told: a setting that has no effect is found out late, and mostly in public.
    for name in given:
        plain = name.removesuffix("_FILE")
        if plain not in known and len(name) > _SHORT and (near := difflib.get_close_matches(plain, known, 1, _NEAR)):
            told.append(f"{name} is no setting and has no effect: is {near[0]} meant?")
    if settings.continue_chats and settings.history_disabled:
        told.append("CONTINUE_CHATS has no effect, because chats are not kept: set HISTORY_DISABLED to false")
    if settings.is_public and any(len(key) < _GUESSED for key in settings.authorization):
        told.append(
            f"AUTHORIZATION has a key of fewer than {_GUESSED} characters, and other machines can reach HOST: "
            "make one that can't be guessed with `chat2api new-key`"
        )
    return told


def as_environment(flags: Mapping[str, Any]) -> dict[str, str]:
    """Flags as environment variables, for the worker processes to read. A flag that names a file empties the variable
    it stands for, which may be in the environment already."""
    variables = {name.upper(): str(value) for name, value in flags.items() if value is not None}
    emptied = {name.removesuffix("_FILE"): "" for name in variables if name.removesuffix("_FILE") in SECRET}
    return emptied | variables


def describe() -> list[tuple[str, str, str]]:
    """(variable, default, what it is) for every setting, in order: the table of docs/settings.md."""
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
        # Which of the two is meant can't be told, and the wrong one may be a key that was replaced.
        if name in given:
            raise SettingError(f"{name} and {name}_FILE are both set: remove one of them")
        try:
            text = Path(_at_home(path)).read_text("utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
            raise SettingError(f"{name}_FILE is {path!r}, which can't be read: {why}") from error
        # A file of keys is written one a line; where one text is wanted, a line end in it is refused later
        # (`_CONTROL`).
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
    if _CONTROL.search(text):
        raise _wrong(name, text, "one line is needed, without control characters")
    if get_origin(plain) is tuple:
        # An empty word between two commas is a slip of the pen, and would be a key that everybody has.
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
    shown = HIDDEN if name in SECRET else _quoted(_without_passwords(text))
    return SettingError(f"{name} is {shown}: {allowed}")


def _without_passwords(text: str) -> str:
    """Of a URL, what stands before its host or behind a ? may be a password, whatever setting it is in."""
    return re.sub(r"(?<=//)[^,]*(?=@)|(?<=\?)[^,]+", HIDDEN, text)


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONG else f"{text[:_LONG]}…")


def _check(settings: Settings) -> None:
    """Checks that types can't make: URLs, the prefix, and that nobody listens publicly without a key."""
    for url in settings.chatgpt_base_url:
        _check_url("CHATGPT_BASE_URL", url, _HTTP)
        # People copy the address of the API, whose first word is part of each path that is put behind the origin.
        if url.rstrip("/").endswith(("/backend-api", "/backend-anon")):
            raise _wrong("CHATGPT_BASE_URL", url, "the origin alone is needed, without /backend-api at its end")
    for url in settings.proxy_url:
        check_proxy("PROXY_URL", url)
    for name in ("oauth_url", "arkose_token_url"):
        if url := getattr(settings, name):
            _check_url(name.upper(), url, _HTTP, query=True)
    _check_texts(settings)
    # Clients and proxies take `..` out of a path, and decode what is escaped in it: such a prefix would never be met.
    words = settings.root_path.split("/")[1:]
    if any(word in {"", ".", ".."} or not all(one.isalnum() or one in "-_." for one in word) for word in words):
        raise _wrong("API_PREFIX", settings.api_prefix, "letters, digits, '-', '_' and '.' only")
    try:
        # Read here for its complaints: a wrong alias has to stop the start, not the first request.
        _ = settings.aliases
    except ValueError as error:
        efforts = "none, minimal, low, medium, high, xhigh or max"
        wanted = f"each is 'name=model' or 'name=model:effort', with an effort of {efforts}"
        raise _wrong("MODEL_ALIASES", str(error), wanted) from None
    if settings.is_public and not settings.authorization:
        raise SettingError(
            f"HOST is {_quoted(settings.host)}, which other machines can reach, and AUTHORIZATION is empty: "
            "set AUTHORIZATION to one or more keys, or HOST to 127.0.0.1"
        )


def check_proxy(name: str, url: str) -> None:
    """Raises SettingError for what is no proxy's address; `name` is what the operator calls it."""
    _check_url(name, url, _PROXY_SCHEMES)
    # Of two `@` Python takes the last and curl the first.
    if url.count("@") > 1:
        raise _wrong(name, url, "user and password have to be percent-encoded (`@` is %40)")


def _check_texts(settings: Settings) -> None:
    for key in settings.authorization:
        # What a client could never send as a bearer, or only with quotes that a shell takes away.
        if not _KEY.fullmatch(key) or key.lower().startswith("bearer"):
            raise _wrong(
                "AUTHORIZATION",
                key,
                "keys are ASCII without blanks, quotes, semicolons or `Bearer`, and are separated by commas",
            )
    if not (settings.user_agent.isascii() and settings.user_agent.isprintable()):
        raise _wrong("USER_AGENT", settings.user_agent, "printable ASCII in one line")


def _check_url(name: str, url: str, schemes: frozenset[str], *, query: bool = False) -> None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
        usable = usable and url.isprintable() and " " not in url
        # What stands behind a ? would be lost, as paths are put behind the origin.
        usable = usable and (query or not ("?" in url or "#" in url))
    except ValueError:
        usable = False
    if not usable:
        also = "" if query else ", and nothing after a ? or #"
        raise _wrong(name, url, f"a URL with a host is needed ({', '.join(sorted(schemes))}), without blanks{also}")


_KEY = re.compile(r"[!#-&(-:<-~]+")  # printable ASCII but for quotes and `;`
# A value with a line end would write a header of its own, or a second line into a log.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SHORT, _NEAR = 4, 0.85
_LONG = 310  # characters of a value that are shown
_GUESSED = 16  # characters below which a key is soon found by trying
_BOUNDS = ("pattern", "min_length", "max_length", "ge", "gt", "le")
_HTTP = frozenset({"http", "https"})
# What curl speaks. With `h` (socks5h) the proxy resolves names, else this machine does.
_PROXY_SCHEMES = frozenset({"http", "https", "socks4", "socks4a", "socks5", "socks5h"})
_FLAGS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_FIELDS = get_type_hints(Settings, include_extras=True)
