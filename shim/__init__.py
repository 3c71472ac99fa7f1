"""chat2api: OpenAI API requests answered from the ChatGPT web backend.

The packages below point one way: `openai, chatgpt, errors <- protocol <- transport, accounts <- routes <- app`.
"""

__version__ = "0.1.0"
