"""OpenAI's Agents SDK, which speaks the Responses API."""

import asyncio

from agents import Agent, OpenAIResponsesModel, Runner, function_tool
from openai import AsyncOpenAI
from parts import gateway, raised, serve
from pydantic import BaseModel


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"20 degrees in {city}"


def agent(**more):
    client = AsyncOpenAI(base_url=gateway.url, api_key=gateway.key, max_retries=0)
    model = OpenAIResponsesModel(model=gateway.model, openai_client=client)
    return Agent(name="helper", instructions="Be brief.", model=model, **more)


def _run(prompt, **more):
    return asyncio.run(Runner.run(agent(**more), prompt))


def _streamed(prompt, **more):
    """What the run came to, and the pieces of its texts."""

    async def read():
        run = Runner.run_streamed(agent(**more), prompt)
        raw = [event.data async for event in run.stream_events() if event.type == "raw_response_event"]
        return run, [data.delta for data in raw if data.type == "response.output_text.delta"]

    return asyncio.run(read())


def _tokens(run):
    usage = run.context_wrapper.usage
    return [usage.input_tokens, usage.output_tokens]


def chat(prompt):
    run = _run(prompt)
    return {"text": run.final_output, "tokens": _tokens(run), "reason": "stop"}


def stream(prompt):
    run, pieces = _streamed(prompt)
    assert run.final_output == "".join(pieces)
    return {"pieces": pieces, "tokens": _tokens(run), "reason": "stop"}


def _told(run):
    words, *calls = run.raw_responses[0].output
    called = [{"name": call.name, "arguments": call.arguments} for call in calls]
    return {"words": words.content[0].text, "calls": called, "text": run.final_output}


def tools(prompt):
    return _told(_run(prompt, tools=[get_weather]))


def tools_streamed(prompt):
    return _told(_streamed(prompt, tools=[get_weather])[0])


def structured(prompt):
    return _run(prompt, output_type=Person).final_output.model_dump()


def image(prompt, picture):
    parts = [{"type": "input_text", "text": prompt}, {"type": "input_image", "image_url": picture, "detail": "auto"}]
    return {"text": _run([{"role": "user", "content": parts}]).final_output}


def handed_over(prompt):
    """Another agent answers: the first gives it the floor by a call of the SDK's own."""
    other = agent(handoff_description="Knows the weather.")
    other.name = "forecaster"
    run = _run(prompt, handoffs=[other])
    return {"text": run.final_output, "by": run.last_agent.name}


def refused(prompt):
    return raised(lambda: _run(prompt))


serve(chat, stream, tools, tools_streamed, structured, image, handed_over, refused)
