"""Who asks upstream: credentials, what they may use, and this installation's own identity."""
