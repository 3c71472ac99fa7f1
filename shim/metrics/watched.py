"""A transport and a solver that tell how each of their calls went."""

import time

from pow import Challenge, ProofNotSolvedError
from shim.errors import GatewayError
from shim.metrics.metrics import Metrics
from shim.protocol.commands import HttpRequest
from shim.transport.base import ConnectionKey, Response, Transport
from shim.transport.driver import SolvesProofs


class WatchedTransport:
    """A transport whose calls are counted."""

    def __init__(self, transport: Transport, metrics: Metrics) -> None:
        self._transport, self._metrics = transport, metrics

    async def send(self, request: HttpRequest, connection: ConnectionKey) -> Response:
        """See Transport."""
        began = time.perf_counter()
        try:
            response = await self._transport.send(request, connection)
        except GatewayError as error:
            self._metrics.called(error.code or error.error_type)
            raise
        except BaseException:  # cancelled, mostly: the client has gone. Whatever it is, it is a call that was made
            self._metrics.called("given_up")
            raise
        outcome = "429" if response.status == 429 else f"{response.status // 100}xx"
        self._metrics.called(outcome, time.perf_counter() - began)
        return response


class WatchedSolver:
    """A solver whose time is taken."""

    def __init__(self, solver: SolvesProofs, metrics: Metrics) -> None:
        self._solver, self._metrics = solver, metrics

    async def solve(self, challenge: Challenge, config: list[object]) -> str:
        """See SolvesProofs."""
        began, outcome = time.perf_counter(), "failed"
        try:
            proof = await self._solver.solve(challenge, config)
            outcome = "solved"
        except ProofNotSolvedError:
            outcome = "not_solved"
            raise
        finally:
            self._metrics.proved(outcome, time.perf_counter() - began)
        return proof
