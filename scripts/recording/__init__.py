"""The program behind `scripts/record`: the cassettes of the tests, made anew."""
