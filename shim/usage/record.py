"""One call of an API, as the log tells it."""

import msgspec


class CallRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a call that is over. `at` is its end in seconds since 1970, `id` its `x-request-id`; `status` is
    what became of it (a finish reason or an error's code), `code` that of HTTP, None where the client left first;
    `opened_ms` is until upstream's answer was at its head; `tokens` are estimated, (of the prompt, of the answer), None
    where they were not counted."""

    id: str
    at: float
    api: str
    status: str
    ms: float
    code: int | None = None
    failed: bool = False
    model: str | None = None
    slug: str | None = None
    account: str | None = None
    key: str | None = None
    stream: bool = False
    tries: int = 0
    first_ms: float | None = None
    tokens: tuple[int, int] | None = None
    opened_ms: float | None = None

    @property
    def place(self) -> tuple[float, str]:
        """By what calls are put in order: the end, and the id where two ended at once."""
        return self.at, self.id

    def mentions(self, text: str) -> bool:
        """Whether one of the fields that are words has `text` in it, in any case."""
        words = (self.id, self.api, self.status, self.code, self.model, self.slug, self.account, self.key)
        return any(text.lower() in str(word).lower() for word in words if word is not None)
