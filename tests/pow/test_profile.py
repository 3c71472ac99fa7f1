"""What the installation says about itself (protocol.md 2.4)."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from pow import ClientProfile, proof_config

NEW_YEAR = datetime(2024, 1, 1, 5, 0, tzinfo=UTC)


def config_at(now: datetime, **profile: object) -> list[object]:
    return proof_config(ClientProfile(**profile), now=now, performance_ms=1234.5, session_id="an-id")


def test_the_fifteen_elements_in_their_order():
    assert config_at(NEW_YEAR, user_agent="UA/1.0", script_url="https://example.test/a.js", build="dpl=test") == [
        3000,
        "Mon Jan 01 2024 05:00:00 GMT+0000 (Coordinated Universal Time)",
        4294705152,
        0,
        "UA/1.0",
        "https://example.test/a.js",
        "dpl=test",
        "en-US",
        "en-US,en",
        0,
        "onLine−true",
        "location",
        "alert",
        1234.5,
        "an-id",
    ]


def test_the_default_is_what_this_program_is():
    config = config_at(NEW_YEAR)
    assert config[4:7] == ["chat2api/0.1", None, "dpl=chat2api"]
    assert config == config_at(NEW_YEAR)  # a constant: nothing is drawn at random


@pytest.mark.parametrize(
    ("now", "minutes", "name", "text"),
    [
        (NEW_YEAR, -300, "Eastern Standard Time", "Mon Jan 01 2024 00:00:00 GMT-0500 (Eastern Standard Time)"),
        (NEW_YEAR, 330, "India Standard Time", "Mon Jan 01 2024 10:30:00 GMT+0530 (India Standard Time)"),
        (NEW_YEAR, -570, "Marquesas Time", "Sun Dec 31 2023 19:30:00 GMT-0930 (Marquesas Time)"),
        (
            datetime(2026, 2, 28, 23, 59, 58, 999_999, tzinfo=timezone(timedelta(hours=-1))),
            0,
            "Greenwich Mean Time",
            "Sun Mar 01 2026 00:59:58 GMT+0000 (Greenwich Mean Time)",
        ),
    ],
)
def test_the_time_is_shown_on_the_profiles_clock(now, minutes, name, text):
    assert config_at(now, timezone_offset_minutes=minutes, timezone_text=name)[1] == text


def test_every_weekday_and_month_has_its_english_name():
    texts = [config_at(datetime(2024, month, month, tzinfo=UTC))[1] for month in range(1, 13)]
    assert [text[:10] for text in texts] == [
        *("Mon Jan 01", "Fri Feb 02", "Sun Mar 03", "Thu Apr 04", "Sun May 05", "Thu Jun 06"),
        *("Sun Jul 07", "Thu Aug 08", "Mon Sep 09", "Thu Oct 10", "Mon Nov 11", "Thu Dec 12"),
    ]
    assert config_at(datetime(2024, 1, 2, tzinfo=UTC))[1].startswith("Tue ")
    assert config_at(datetime(2024, 1, 3, tzinfo=UTC))[1].startswith("Wed ")
    assert config_at(datetime(2024, 1, 6, tzinfo=UTC))[1].startswith("Sat ")


def test_a_time_without_a_timezone_is_refused():
    with pytest.raises(ValueError, match="timezone"):
        config_at(datetime(2024, 1, 1))  # noqa: DTZ001


def test_an_offset_of_a_day_is_refused_at_once():
    with pytest.raises(ValueError):
        ClientProfile(timezone_offset_minutes=24 * 60)
