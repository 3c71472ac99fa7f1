"""Haystack's generators for OpenAI, in either API, and its agent, which takes either."""

from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIChatGenerator, OpenAIResponsesChatGenerator
from haystack.dataclasses import ChatMessage, ImageContent
from haystack.tools import tool
from haystack.utils import Secret
from parts import gateway, raised, serve
from pydantic import BaseModel

GENERATORS = {"chat": OpenAIChatGenerator, "responses": OpenAIResponsesChatGenerator}
COUNTS = {"chat": ("prompt_tokens", "completion_tokens"), "responses": ("input_tokens", "output_tokens")}


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"20 degrees in {city}"


def generator(api, **more):
    key = Secret.from_token(gateway.key)
    return GENERATORS[api](api_key=key, api_base_url=gateway.url, model=gateway.model, max_retries=0, **more)


def _told(reply, api):
    usage, names = reply.meta["usage"], COUNTS[api]
    return {"tokens": [usage[name] for name in names], "reason": reply.meta["finish_reason"]}


def chat(prompt, api):
    (reply,) = generator(api).run([ChatMessage.from_user(prompt)])["replies"]
    return {"text": reply.text, **_told(reply, api)}


def stream(prompt, api):
    chunks = []
    more = {"generation_kwargs": {"stream_options": {"include_usage": True}}} if api == "chat" else {}
    (reply,) = generator(api, **more).run([ChatMessage.from_user(prompt)], streaming_callback=chunks.append)["replies"]
    pieces = [chunk.content for chunk in chunks if chunk.content]
    assert reply.text == "".join(pieces)
    return {"pieces": pieces, **_told(reply, api)}


def _loop(prompt, api, **more):
    agent = Agent(chat_generator=generator(api), tools=[get_weather], **more)
    done = agent.run(messages=[ChatMessage.from_user(prompt)])
    asked = done["messages"][1]
    calls = [{"name": call.tool_name, "arguments": call.arguments} for call in asked.tool_calls]
    return {"words": asked.text, "calls": calls, "text": done["last_message"].text}


def tools(prompt, api):
    return _loop(prompt, api)


def tools_streamed(prompt, api):
    return _loop(prompt, api, streaming_callback=lambda chunk: None)


def structured(prompt, api):
    asked = {"text_format" if api == "responses" else "response_format": Person}
    made = generator(api, generation_kwargs=asked).run([ChatMessage.from_user(prompt)])
    return Person.model_validate_json(made["replies"][0].text).model_dump()


def image(prompt, picture, api):
    kind, _, data = picture.removeprefix("data:").partition(";base64,")
    parts = [prompt, ImageContent(base64_image=data, mime_type=kind)]
    (reply,) = generator(api).run([ChatMessage.from_user(content_parts=parts)])["replies"]
    return {"text": reply.text}


def refused(prompt, api):
    return raised(lambda: generator(api).run([ChatMessage.from_user(prompt)]))


serve(chat, stream, tools, tools_streamed, structured, image, refused)
