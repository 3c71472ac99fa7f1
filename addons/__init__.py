"""The place of the mitmproxy addons, the second driver of the same core. None is written yet.

Rule: nothing in `shim` imports from here.
"""
