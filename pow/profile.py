"""What this installation says about itself in a proof's config (protocol.md 2.4).

Rule: one honest constant per installation. Nothing here is drawn at random, rotated, or borrowed from a browser;
clock, elapsed time and session id come in as arguments.
"""

from datetime import datetime, timedelta, timezone

import msgspec

# Spelled out, because strftime's %a and %b follow the locale.
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

COUNTER = 3
"""Index of the attempt counter in a config."""
HALF_COUNTER = 9
"""Index of the counter's half in a config."""


class ClientProfile(msgspec.Struct, frozen=True):
    """The elements of a config that stay the same for the whole life of an installation.

    `user_agent` must be the one sent as a header. `screen` is width plus height. `script_url` is None because there is
    no page. `timezone_offset_minutes` (east of Greenwich) and `timezone_text` say which clock the time text shows.
    """

    user_agent: str = "chat2api/0.1"
    screen: int = 3000
    heap_limit: int | None = 4294705152
    script_url: str | None = None
    build: str = "dpl=chat2api"
    language: str = "en-US"
    languages: str = "en-US,en"
    navigator_property: str = "onLine\N{MINUS SIGN}true"
    document_key: str = "location"
    window_key: str = "alert"
    timezone_offset_minutes: int = 0
    timezone_text: str = "Coordinated Universal Time"

    def __post_init__(self) -> None:
        self.timezone  # noqa: B018  an offset of a day or more is refused here, not at the first proof

    @property
    def timezone(self) -> timezone:
        """The clock of the time text; `ValueError` when the offset is a day or more."""
        return timezone(timedelta(minutes=self.timezone_offset_minutes))


def proof_config(profile: ClientProfile, *, now: datetime, performance_ms: float, session_id: str) -> list[object]:
    """Return the 15-element config of protocol.md 2.4, its two counters at 0.

    `now` is an aware `datetime` (`ValueError` otherwise), shown on the profile's clock. `performance_ms` is the time
    since start in milliseconds, `session_id` a UUID text.
    """
    return [
        profile.screen,
        _time_text(profile, now),
        profile.heap_limit,
        0,  # COUNTER
        profile.user_agent,
        profile.script_url,
        profile.build,
        profile.language,
        profile.languages,
        0,  # HALF_COUNTER
        profile.navigator_property,
        profile.document_key,
        profile.window_key,
        performance_ms,
        session_id,
    ]


def _time_text(profile: ClientProfile, now: datetime) -> str:
    """`Mon Jan 01 2024 00:00:00 GMT-0500 (Eastern Standard Time)`, as a browser's `Date` prints itself."""
    if now.utcoffset() is None:
        raise ValueError("the time of a proof config needs a timezone")
    local = now.astimezone(profile.timezone)
    day = f"{_WEEKDAYS[local.weekday()]} {_MONTHS[local.month - 1]} {local.day:02d} {local.year:04d}"
    hours, rest = divmod(abs(profile.timezone_offset_minutes), 60)
    offset = f"{'-' if profile.timezone_offset_minutes < 0 else '+'}{hours:02d}{rest:02d}"
    clock = f"{local.hour:02d}:{local.minute:02d}:{local.second:02d}"
    return f"{day} {clock} GMT{offset} ({profile.timezone_text})"
