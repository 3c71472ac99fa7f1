"""The sentinel's two answers: requirements (protocol.md 2.1) and the two-step form (2.2)."""

from typing import Any

import msgspec


class Required(msgspec.Struct, frozen=True):
    """A check that may be asked for."""

    required: bool | None = None


class Arkose(Required, frozen=True):
    """Arkose's check. `dx` is its blob."""

    # Opaque, and for the operator's token service alone (3).
    dx: str | None = None


class ProofOfWork(msgspec.Struct, frozen=True):
    """The proof of work, where `required`: `difficulty` is lower-case hex."""

    required: bool | None = None
    seed: str | None = None
    difficulty: str | None = None


class Requirements(msgspec.Struct, frozen=True):
    """What the turn has to bring. A missing object asks for nothing."""

    # One step gives the token, two steps first give only the other one, which is handed in with the proof for it (2.2).
    token: str | None = None
    prepare_token: str | None = None
    # Which of its two keys an Arkose token is for goes by this (3).
    persona: str | None = None
    arkose: Arkose | None = None
    # Announced more often than enforced, and never answered by us: the turn goes on without (2.7).
    turnstile: Required | None = None
    so: Required | None = None
    proofofwork: ProofOfWork | None = None
    # Refuses an anonymous identity, or says that an account's log-in has ended. Another device id is no way around it
    # (2.1).
    force_login: bool | None = None
    expire_after: Any = None  # seconds; of any form, for a turn that is made at once does not ask


requirements_decoder = msgspec.json.Decoder(Requirements)
