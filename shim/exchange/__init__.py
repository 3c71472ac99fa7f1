"""Exchanges: client calls from their request to the end of their answer."""

from shim.exchange.gateway import Clock, Exchange, Gateway, Way

__all__ = ["Clock", "Exchange", "Gateway", "Way"]
