"""The mitmproxy addons: the second driver of the same core, and what looks at live traffic.

Rule: nothing in `shim` imports from here.
"""
