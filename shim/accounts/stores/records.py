"""What both stores write about an account, and how they find what other processes have changed.

Rule: `last_used` and `turns` are kept apart from the rest of a condition, because they are added up while the rest is
replaced; they are never news by themselves.
"""

import logging
from collections.abc import Callable, Iterable

import msgspec

from shim.accounts.account import Account, Condition, told_by_token
from shim.accounts.stores.base import Change, StoreError

log = logging.getLogger("chat2api")


def encode_account(account: Account) -> str:
    """A (sealed) account as JSON: fields that come later have defaults, so older rows stay readable."""
    return _encode(account).decode()


def decode_account(text: str | bytes) -> Account:
    """The (sealed) account. Raises StoreError for what was not written by us."""
    try:
        return _decode_account(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise StoreError("the store holds an account that can't be read") from None


def encode_condition(condition: Condition) -> str:
    """A condition without its uses, as JSON."""
    return _encode(without_uses(condition)).decode()


def decode_condition(text: str | bytes, last_used: float, turns: int) -> Condition:
    """A condition with its uses. Raises StoreError for what was not written by us."""
    try:
        kept = _decode_condition(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise StoreError("the store holds a condition that can't be read") from None
    return msgspec.structs.replace(kept, last_used=last_used, turns=turns)


def without_uses(condition: Condition) -> Condition:
    """The part of a condition that one writer replaces."""
    return msgspec.structs.replace(condition, last_used=0.0, turns=0)


class Known:
    """What this process has read or written, so that only what others did comes back to it as a change.

    It holds the very objects the caller holds, so 10,000 accounts cost little more than a dict.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Account, Condition]] = {}
        self._unreadable: set[str] = set()

    def __len__(self) -> int:
        return len(self._kept)

    def read(
        self, rows: Iterable[tuple[str, str, str, float, int]], unseal: Callable[[Account], Account]
    ) -> list[tuple[Account, Condition]]:
        """Rows as they are kept: id, account, condition, last used, turns. One that can't be read is left out and told
        of, once: the others need not wait for somebody to mend it. Raises StoreError for what can't be unsealed."""
        found = []
        for id, account, condition, last_used, turns in rows:
            try:
                row = decode_account(account), decode_condition(condition, last_used, turns)
            except StoreError as error:
                if id not in self._unreadable:
                    log.warning("account %s is left out: %s; remove it, and add it again", id, error)
                self._unreadable.add(id)
                continue
            found.append((told_by_token(unseal(row[0])), row[1]))
        return found

    def reset(self, rows: Iterable[tuple[Account, Condition]]) -> None:
        """This is everything there is."""
        self._kept = {account.id: (account, without_uses(condition)) for account, condition in rows}

    def put_account(self, account: Account) -> None:
        """We have written this account; a new one has done nothing yet."""
        _, condition = self._kept.get(account.id, (None, _UNUSED))
        self._kept[account.id] = (account, condition)

    def put_condition(self, id: str, condition: Condition) -> None:
        """We have written how it is doing."""
        if id in self._kept:
            self._kept[id] = (self._kept[id][0], without_uses(condition))

    def drop(self, ids: Iterable[str]) -> None:
        """We have removed these, so that they are gone is no news."""
        for id in ids:
            self._kept.pop(id, None)

    def news(self, ids: Iterable[str], rows: Iterable[tuple[Account, Condition]]) -> list[Change]:
        """Of these ids, in this order: those whose row is not as known, or that have none any more."""
        found = {account.id: (account, condition) for account, condition in rows}
        news: list[Change] = []
        for id in ids:
            row = found.get(id)
            if row is None:
                # What we have never seen, or have removed ourselves, is no news when it is gone.
                if self._kept.pop(id, None):
                    news.append(Change(id, None, None))
                continue
            account, condition = row
            mark = (account, without_uses(condition))
            if self._kept.get(id) != mark:
                self._kept[id] = mark
                news.append(Change(id, account, condition))
        return news

    def news_of_all(self, rows: Iterable[tuple[Account, Condition]]) -> list[Change]:
        """The same for everything there is: what is gone first."""
        rows = list(rows)
        present = {account.id: None for account, _ in rows}
        return self.news([*(id for id in self._kept if id not in present), *present], rows)


_UNUSED = Condition()
_encode = msgspec.json.Encoder().encode
_decode_account = msgspec.json.Decoder(Account).decode
_decode_condition = msgspec.json.Decoder(Condition).decode
