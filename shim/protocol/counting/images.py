"""Tokens a picture counts as input, by OpenAI's published rule for its chat models.

Rule: low detail is the base alone. Else the picture is made to fit a square of 2048 pixels, then its shorter side is
brought down to 768, and every tile of 512 by 512 counts; nothing is ever made larger.
"""

# In tokens, as published for the gpt-4o family.
_BASE = 85
_PER_TILE = 170
# In pixels.
_TILE = 512
_SQUARE = 2048
_SHORT_SIDE = 768


def image_tokens(width: int, height: int, detail: str = "auto") -> int:
    """Tokens of a picture of this many pixels. `auto` counts as `high`."""
    if detail == "low":
        return _BASE
    width, height = _shrunk(width, height, max(width, height), _SQUARE)
    width, height = _shrunk(width, height, min(width, height), _SHORT_SIDE)
    return _BASE + _PER_TILE * -(-width // _TILE) * -(-height // _TILE)


def _shrunk(width: int, height: int, side: int, most: int) -> tuple[int, int]:
    """Both sides, by the factor that brings `side` down to `most`."""
    if side <= most:
        return width, height
    # Never 0: a picture of one line of pixels still is a row of tiles.
    return max(1, width * most // side), max(1, height * most // side)
