"""Exchanges: client calls from their request to the end of their answer."""

from shim.exchange.clock import Clock
from shim.exchange.exchange import ClientCall, Exchange
from shim.exchange.gateway import Gateway

__all__ = ["ClientCall", "Clock", "Exchange", "Gateway"]
