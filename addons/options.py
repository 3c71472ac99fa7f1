"""The bridge's options: all settings of `chat2api serve`, its own, and what it needs of mitmproxy's.

Rule: an option beats the environment variable of its name; an empty one says nothing.
"""

import re
from typing import Any

from mitmproxy import ctx, exceptions  # type: ignore[import-not-found,unused-ignore]
from mitmproxy.addonmanager import Loader  # type: ignore[import-not-found,unused-ignore]
from mitmproxy.proxy.mode_specs import ProxyMode, ReverseMode  # type: ignore[import-not-found,unused-ignore]

from shim.settings import SettingError, Settings, describe, load_settings

# A pattern that matches nowhere; an empty one would match everywhere.
_NOTHING = r"(?!)"


def declare(loader: Loader) -> None:
    """Make them known."""
    for name, default, text in describe():
        loader.add_option(name.lower(), str, "", f"{text} (default: {default or 'empty'})")
    loader.add_option(
        "bridge_host", str, "api.openai.com", "Regular mode: the hosts whose calls are answered, by comma."
    )
    loader.add_option("bridge_pass", str, "", "Paths that match this pass on untouched (empty: all are answered).")
    loader.add_option("bridge_inline", bool, True, "Turn plain chats into the upstream call itself.")


def read() -> tuple[Settings, re.Pattern[str]]:
    """The settings, and the paths that pass. Raises OptionsError."""
    if ctx.options.stream_large_bodies:
        raise exceptions.OptionsError("bridge: stream_large_bodies would send requests on before they are read")
    given: dict[str, Any] = {name.lower(): getattr(ctx.options, name.lower()) or None for name, _, _ in describe()}
    try:
        settings = load_settings(flags=given)
        if settings.chatgpt_base_url == Settings().chatgpt_base_url and (target := reverse_target()):
            settings = load_settings(flags=given | {"chatgpt_base_url": target})
        return settings, re.compile(ctx.options.bridge_pass or _NOTHING)
    except (SettingError, re.error) as error:
        raise exceptions.OptionsError(f"bridge: {error}") from error


def reverse_target() -> str | None:
    """The address of reverse mode, which stands for upstream where CHATGPT_BASE_URL does not name it."""
    modes = [ProxyMode.parse(mode) for mode in ctx.options.mode]
    targets = [mode.data.partition("@")[0].rstrip("/") for mode in modes if isinstance(mode, ReverseMode)]
    return next((target for target in targets if target.startswith(("http://", "https://"))), None)


def which_upstream(settings: Settings) -> str:
    """For the log: who upstream is, and what said so."""
    upstream, target = ", ".join(settings.chatgpt_base_url), reverse_target()
    if target is None or target in settings.chatgpt_base_url:
        return f"upstream is {upstream}"
    return f"upstream is {upstream} (CHATGPT_BASE_URL); the target of reverse mode, {target}, is not used for calls"


def adapt(settings: Settings) -> None:
    """What has to be so for the bridge: nobody is connected to before it is known where a call goes, the Host that a
    client names is kept, and an answer may be silent for as long as it may take."""
    ctx.options.update(connection_strategy="lazy", keep_host_header=True)
    # mitmproxy 11 has ten minutes, built in.
    if "tcp_timeout" in ctx.options:
        ctx.options.update(tcp_timeout=max(ctx.options.tcp_timeout, round(settings.total_timeout)))
    # What the operator told mitmproxy itself comes first.
    if settings.ca_file and not ctx.options.ssl_verify_upstream_trusted_ca:
        ctx.options.update(ssl_verify_upstream_trusted_ca=settings.ca_file)
