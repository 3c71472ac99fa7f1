"""The relay: calls of clients that speak the web backend's own API, passed on with an account of ours or their own."""

from shim.relay.answers import Relaying
from shim.relay.relay import Client, Relay, SaidNoError, told_to

__all__ = ["Client", "Relay", "Relaying", "SaidNoError", "told_to"]
