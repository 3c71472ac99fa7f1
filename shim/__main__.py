"""`python -m shim` is the command `chat2api`."""

from shim.cli.main import main

# Worker and solver processes import this module again under another name: then there is nothing to run.
if __name__ == "__main__":
    main()
