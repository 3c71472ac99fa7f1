"""pydantic-ai's OpenAIChatModel."""

import asyncio

from openai import AsyncOpenAI
from parts import gateway, raised, serve
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, NativeOutput
from pydantic_ai.messages import ModelResponse, ToolCallPart
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


def agent(**more):
    client = AsyncOpenAI(base_url=gateway.url, api_key=gateway.key, max_retries=0)
    return Agent(OpenAIChatModel(gateway.model, provider=OpenAIProvider(openai_client=client)), **more)


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"20 degrees in {city}"


def chat(prompt):
    result = agent().run_sync(prompt)
    usage = result.usage
    return {
        "text": result.output,
        "tokens": [usage.input_tokens, usage.output_tokens],
        "reason": result.response.finish_reason,
    }


def stream(prompt):
    async def read():
        async with agent().run_stream(prompt) as result:
            pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
            return pieces, result.usage, result.response.finish_reason

    pieces, usage, reason = asyncio.run(read())
    return {"pieces": pieces, "tokens": [usage.input_tokens, usage.output_tokens], "reason": reason}


def _calls(messages):
    parts = [part for message in messages if isinstance(message, ModelResponse) for part in message.parts]
    return [
        {"name": part.tool_name, "arguments": part.args_as_dict()} for part in parts if isinstance(part, ToolCallPart)
    ]


def tools(prompt):
    result = agent(tools=[get_weather]).run_sync(prompt)
    words = [part.content for part in result.all_messages()[1].parts if part.part_kind == "text"]
    return {"words": "".join(words), "calls": _calls(result.all_messages()), "text": result.output}


def structured(prompt):
    return agent(output_type=NativeOutput(Person)).run_sync(prompt).output.model_dump()


def structured_by_call(prompt):
    return agent(output_type=Person).run_sync(prompt).output.model_dump()


def image(prompt, picture):
    return {"text": agent().run_sync([prompt, BinaryContent.from_data_uri(picture)]).output}


def refused(prompt):
    return raised(lambda: agent().run_sync(prompt))


serve(chat, stream, tools, structured, structured_by_call, image, refused)
