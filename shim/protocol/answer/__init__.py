"""What is answered: from upstream's bytes to events."""
