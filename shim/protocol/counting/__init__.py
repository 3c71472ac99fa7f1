"""Tokens of prompts and answers."""
