"""Cassettes: saved traffic. What they look like, how live traffic becomes one, and how a call finds its recording.

Rule: whatever is written here went through `scrub` first. Nothing in this package needs mitmproxy but `flows`, which
says so where it is missing.
"""
