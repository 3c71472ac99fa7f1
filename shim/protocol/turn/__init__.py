"""What is asked: from a prompt to the calls that go upstream."""
