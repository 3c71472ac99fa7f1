"""Performs the core's commands: the one loop between a handshake and the world. Both drivers use it.

Rule: a failure of the world (pow, arkose, transport) becomes a GatewayError here or before; the handshake only sees
replies.
"""

import asyncio
from typing import Literal, Protocol, TypeVar

from arkose import ArkoseError
from pow import Challenge, PowError, ProofNotSolvedError, SolverBusyError
from shim.errors import About, RefusedError, Sent, UnavailableError
from shim.protocol.commands import Command, FetchArkose, Handshake, Reply, Send, SolvePow, Wait
from shim.transport.base import ConnectionKey, Transport, read_reply

T = TypeVar("T")


class SolvesProofs(Protocol):
    """What the driver needs of `pow.Solver`."""

    async def solve(self, challenge: Challenge, config: list[object]) -> str:
        """The proof token; PowError where there is none."""
        ...


class FetchesTokens(Protocol):
    """What the driver needs of `arkose.ArkoseClient`."""

    async def fetch(self, *, blob: str | None, method: Literal["chat35", "chat4"]) -> str:
        """The token; ArkoseError where there is none."""
        ...


class Driver:
    """The world a handshake runs in."""

    def __init__(self, transport: Transport, solver: SolvesProofs, arkose: FetchesTokens) -> None:
        self.transport = transport
        self._solver = solver
        self._arkose = arkose

    async def run(self, handshake: Handshake[T], connection: ConnectionKey) -> T:
        """Perform every command the handshake yields; returns what it returns."""
        reply: Reply = None
        try:
            while True:
                reply = await self._perform(handshake.send(reply), connection)
        except StopIteration as done:
            result: T = done.value
            return result
        finally:
            handshake.close()

    async def _perform(self, command: Command, connection: ConnectionKey) -> Reply:
        match command:
            case Send(request=request):
                return await read_reply(await self.transport.send(request, connection))
            case SolvePow(challenge=challenge, config=config):
                try:
                    return await self._solver.solve(challenge, config)
                except ProofNotSolvedError:
                    return None
                except SolverBusyError as error:
                    raise _unavailable(
                        "The gateway is busy with proofs of work", "proof_of_work_busy", error.retry_after
                    ) from error
                except PowError as error:
                    raise _unavailable(
                        f"No proof of work could be made: {error}", "proof_of_work_failed", 1.0
                    ) from error
            case FetchArkose(blob=blob, method=method):
                try:
                    return await self._arkose.fetch(blob=blob, method=method)
                except ArkoseError as error:
                    raise RefusedError(str(error), code="arkose_failed", about=About.CHECK) from error
            case Wait(seconds=seconds):
                await asyncio.sleep(seconds)
                return None


def _unavailable(message: str, code: str, retry_after: float) -> UnavailableError:
    return UnavailableError(message, code=code, retry_after=retry_after, about=About.PROOF, sent=Sent.NEVER)
