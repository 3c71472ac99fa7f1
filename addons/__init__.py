"""The mitmproxy side of chat2api: the second driver of the same core. Nothing in `shim` imports from here."""
