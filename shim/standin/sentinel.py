"""Requirement tokens: issued, bound to a caller, proven, used once (protocol.md 2).

Rule: the order of checks on a turn is that of protocol.md 2.7, and every refusal there is the one sentinel sentence.
"""

import base64
import binascii
import secrets
from collections.abc import Mapping
from random import Random
from typing import Any

import msgspec

from pow import Challenge, verify, verify_requirements_token
from shim.standin.accounts import Account, Caller
from shim.standin.failures import refused
from shim.standin.memory import remember
from shim.standin.options import StandinOptions
from shim.standin.stats import Stats

TOKEN_HEADER = "openai-sentinel-chat-requirements-token"  # noqa: S105  a header's name
PREPARE_HEADER = "openai-sentinel-chat-requirements-prepare-token"
PROOF_HEADER = "openai-sentinel-proof-token"
ARKOSE_HEADER = "openai-sentinel-arkose-token"
TURNSTILE_HEADER = "openai-sentinel-turnstile-token"
SO_HEADER = "openai-sentinel-so-token"


class Issued(msgspec.Struct):
    """What was asked of a caller with one token. `challenge` is None when no proof is asked for (or it was given)."""

    identity: str
    account: Account
    expires_at: float
    challenge: Challenge | None
    arkose_blob: str | None
    refuse: bool
    prepare_token: str | None = None


class ArkoseDesk:
    """The operator's token service (protocol.md 3), and the upstream's memory of what it has issued."""

    def __init__(self, stats: Stats) -> None:
        self._issued: dict[str, str | None] = {}
        self._stats = stats

    def issue(self, blob: str | None) -> str:
        """A token for one blob."""
        token = f"{secrets.token_hex(8)}.{secrets.randbelow(10**10)}|r=eu-west-1|standin"
        remember(self._issued, token, blob)
        self._stats.arkose["issued"] += 1
        return token

    def redeem(self, token: str | None, blob: str) -> bool:
        """Whether this service issued the token for that blob; a token is good once."""
        if token not in self._issued or self._issued.pop(token) != blob:
            return False
        self._stats.arkose["accepted"] += 1
        return True


class Sentinel:
    """Issues requirement tokens and admits the turns that honour them."""

    def __init__(self, options: StandinOptions, rng: Random, stats: Stats) -> None:
        self._options = options
        self._clock = options.clock
        self._rng = rng
        self._stats = stats
        self._issued: dict[str, Issued] = {}
        self._prepared: dict[str, Issued] = {}
        self.arkose = ArkoseDesk(stats)

    def requirements(self, caller: Caller, p: str | None) -> dict[str, Any]:
        """The answer of one-step chat-requirements (protocol.md 2.1)."""
        if caller.account.sentinel == "two-step":
            raise refused("internal")
        self._check_requirements_token(p)
        issued = self._ask(caller)
        return {
            "persona": caller.account.persona,
            **self._hand_out(issued),
            "arkose": {"required": issued.arkose_blob is not None, "dx": issued.arkose_blob},
            **self._demands(issued),
            "force_login": issued.refuse,
        }

    def prepare(self, caller: Caller, p: str | None) -> dict[str, Any]:
        """The answer of the first of two steps (protocol.md 2.2)."""
        if caller.account.sentinel == "one-step":
            raise refused("not_found")
        self._check_requirements_token(p)
        issued = self._ask(caller)
        issued.prepare_token = _new_token()
        remember(self._prepared, issued.prepare_token, issued)
        demands = self._demands(issued)
        if issued.challenge is None:
            del demands["proofofwork"]  # what is not asked for is left out (recorded 2026-07)
        if issued.arkose_blob is not None:
            demands["arkose"] = {"required": True, "dx": issued.arkose_blob}
        if issued.refuse:
            demands["force_login"] = True
        return {
            "persona": caller.account.persona,
            "prepare_token": issued.prepare_token,
            **demands,
            "so": {"required": caller.account.so != "off", "dx": None},
        }

    def finalize(self, caller: Caller, prepare_token: str, proof: str | None) -> dict[str, Any]:
        """The answer of the second step; the proof is checked here, so the turn need not repeat it."""
        issued = self._prepared.pop(prepare_token, None)
        if issued is None or not self._still_good(issued, caller):
            raise refused("sentinel")
        if issued.challenge is not None:
            self._check_proof(issued.challenge, proof, user_agent=None)
        return {"persona": caller.account.persona, **self._hand_out(issued)}

    def admit(self, caller: Caller, headers: Mapping[str, str]) -> None:
        """Check a turn's sentinel headers in the order of protocol.md 2.7; the token is used up by this."""
        issued = self._issued.get(headers.get(TOKEN_HEADER, ""))
        if issued is None or not self._still_good(issued, caller):
            raise refused("sentinel")
        del self._issued[headers[TOKEN_HEADER]]
        self._check_two_step(issued, headers)
        if issued.challenge is not None and (issued.prepare_token is None or PROOF_HEADER in headers):
            proof, again = headers.get(PROOF_HEADER), issued.prepare_token is not None
            self._check_proof(issued.challenge, proof, headers.get("user-agent"), again=again)
        if issued.arkose_blob is not None and not self.arkose.redeem(headers.get(ARKOSE_HEADER), issued.arkose_blob):
            raise refused("sentinel")
        _check_enforced(issued.account, headers)

    def _check_requirements_token(self, p: str | None) -> None:
        """Protocol.md 2.4: `p` may be absent; otherwise it must be a well-formed config."""
        if self._options.check_p and p is not None and not verify_requirements_token(p):
            raise refused("bad_request")

    def _ask(self, caller: Caller) -> Issued:
        """Decide what this caller has to show on its turn."""
        account = caller.account
        difficulty = account.difficulty or self._options.difficulty
        return Issued(
            identity=caller.identity,
            account=account,
            expires_at=self._clock() + self._options.expire_after,
            challenge=Challenge(seed=repr(self._rng.random()), difficulty=difficulty) if account.proof else None,
            arkose_blob=f"blob.{secrets.token_urlsafe(24)}" if account.arkose else None,
            refuse=account.take_force_login(),
        )

    def _hand_out(self, issued: Issued) -> dict[str, Any]:
        token = _new_token()
        remember(self._issued, token, issued)
        return {"token": token, "expire_after": self._options.expire_after, "expire_at": int(issued.expires_at)}

    def _demands(self, issued: Issued) -> dict[str, Any]:
        challenge = issued.challenge
        return {
            "turnstile": {"required": issued.account.turnstile != "off", "dx": None},
            "proofofwork": {
                "required": challenge is not None,
                "seed": challenge.seed if challenge else None,
                "difficulty": challenge.difficulty if challenge else None,
            },
        }

    def _still_good(self, issued: Issued, caller: Caller) -> bool:
        owned = issued.identity == caller.identity
        return owned and not issued.refuse and self._clock() < issued.expires_at

    def _check_two_step(self, issued: Issued, headers: Mapping[str, str]) -> None:
        """A prepare token sent along must be the one this token came from."""
        if PREPARE_HEADER in headers and headers[PREPARE_HEADER] != issued.prepare_token:
            raise refused("sentinel")

    def _check_proof(
        self, challenge: Challenge, proof: str | None, user_agent: str | None, *, again: bool = False
    ) -> None:
        """`again`: the turn repeats a proof that the second step has counted already."""
        if not proof:
            self._stats.proofs["missing"] += 1
            raise refused("sentinel")
        if not verify(proof, challenge):
            self._stats.proofs["refused"] += 1
            raise refused("sentinel")
        self._stats.proofs["verified"] += not again
        if user_agent is not None and _proof_user_agent(proof) != user_agent:
            self._stats.proofs["user_agent_differs"] += 1


def _check_enforced(account: Account, headers: Mapping[str, str]) -> None:
    """Turnstile and `so` of an account that enforces them: a turn without the header is refused (protocol.md 2.7)."""
    for check, header in ((account.turnstile, TURNSTILE_HEADER), (account.so, SO_HEADER)):
        if check == "enforced" and header not in headers:
            raise refused("sentinel")


def _proof_user_agent(proof: str) -> object:
    """Element 4 of the proof's config (protocol.md 1 and 2.3); None when it cannot be read."""
    try:
        config = msgspec.json.decode(base64.b64decode(proof.removeprefix("gAAAAAB").removesuffix("~S")))
    except (binascii.Error, msgspec.DecodeError):
        return None
    return config[4] if isinstance(config, list) and len(config) > 4 else None


def _new_token() -> str:
    return "gAAAAAB" + secrets.token_urlsafe(60)
