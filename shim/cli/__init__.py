"""The command `chat2api`."""
