"""Tokens of pictures, by the examples OpenAI publishes, and at the edges of its rule."""

import pytest

from shim.protocol.counting.images import image_tokens


@pytest.mark.parametrize(
    ("width", "height", "detail", "expected"),
    [
        (1024, 1024, "high", 765),  # the published examples
        (2048, 4096, "high", 1105),
        (4096, 8192, "low", 85),
        (1024, 1024, "auto", 765),
        (1, 1, "high", 255),
        (512, 512, "high", 255),
        (513, 512, "high", 425),
        (768, 768, "high", 765),
        (769, 769, "high", 765),
        (3000, 10, "high", 765),
        (100_000, 1, "high", 765),
        (1, 100_000, "high", 765),
    ],
)
def test_published_rule(width, height, detail, expected):
    assert image_tokens(width, height, detail) == expected
