"""Paths as clients make them from whatever base URL was typed in."""

import pytest

from shim.http.spellings import as_meant

CHAT = "/v1/chat/completions"


@pytest.mark.parametrize("root", ["", "/secret"])
@pytest.mark.parametrize(
    ("path", "meant"),
    [
        (CHAT, CHAT),
        ("/chat/completions", CHAT),
        ("/v1/v1/chat/completions", CHAT),
        ("/models", "/v1/models"),
        ("/v1/v1/models/gpt-4o", "/v1/models/gpt-4o"),
        ("/models/gpt-4o", "/v1/models/gpt-4o"),
        ("/images/generations", "/v1/images/generations"),
        ("/v1/v1/audio/speech", "/v1/audio/speech"),
        ("/conversations/conv_1/items", "/v1/conversations/conv_1/items"),
    ],
)
def test_what_is_meant(root: str, path: str, meant: str) -> None:
    assert as_meant(root + path, root) == root + meant


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/healthz",
        "/v1",
        "/v1/",
        "/modelsx",
        "/backend-api/models",
        "/v2/models",
        "/v1/chat",
        "/x/models",
        "//models",
        "",
    ],
)
def test_everything_else_stays(path: str) -> None:
    assert as_meant(path, "") == path


def test_nothing_outside_the_prefix_is_touched() -> None:
    assert as_meant("/models", "/secret") == "/models"
    assert as_meant("/secretmodels", "/secret") == "/secretmodels"
