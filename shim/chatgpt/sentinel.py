"""The sentinel's two answers: requirements (protocol.md 2.1) and the two-step form (2.2)."""

from typing import Any

import msgspec


class Required(msgspec.Struct, frozen=True):
    """A check that may be asked for."""

    required: bool | None = None


class Arkose(Required, frozen=True):
    """Arkose's check. `dx` is its blob."""

    dx: str | None = None


class ProofOfWork(msgspec.Struct, frozen=True):
    """The proof of work, where `required`: `difficulty` is lower-case hex."""

    required: bool | None = None
    seed: str | None = None
    difficulty: str | None = None


class Requirements(msgspec.Struct, frozen=True):
    """What the turn has to bring. A missing object asks for nothing."""

    token: str | None = None
    prepare_token: str | None = None
    persona: str | None = None
    arkose: Arkose | None = None
    turnstile: Required | None = None
    so: Required | None = None
    proofofwork: ProofOfWork | None = None
    force_login: bool | None = None
    expire_after: Any = None  # seconds; of any form, for a turn that is made at once does not ask


requirements_decoder = msgspec.json.Decoder(Requirements)
