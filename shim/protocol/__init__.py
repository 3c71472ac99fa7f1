"""The sans-I/O core: an OpenAI request becomes a ChatGPT conversation, and the answer stream becomes OpenAI output.

Rule: nothing in here imports asyncio, sockets, a clock, a random source, an HTTP library or a driver. Time and ids
come in as arguments, bytes come in as `bytes`, and `b""` is the end of input. A test enforces it.
"""
