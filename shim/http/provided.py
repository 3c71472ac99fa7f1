"""What the application provides to handlers."""

from litestar import Litestar
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from shim.exchange import Gateway

GATEWAY = "gateway"
"""In the application's state, while it serves"""
TheGateway = NamedDependency[SkipValidation[Gateway]]


def gateway_of(app: Litestar) -> Gateway:
    """The gateway of an application that serves: for the handlers of answers, since what is injected by its name costs
    a small request 25 calls of functions."""
    gateway: Gateway = app.state[GATEWAY]
    return gateway
