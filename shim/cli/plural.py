"""How many of what, as a person would say it."""


def counted(number: int, word: str) -> str:
    """`1 account`, `2 accounts`; for words whose plural has an s at its end."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
