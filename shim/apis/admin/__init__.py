"""The accounts page and its API."""
