"""DSPy, in any of the three APIs its models speak. Two of them it speaks with an HTTP client of its own."""

import asyncio

import dspy
from dspy.streaming import StreamListener
from parts import gateway, raised, serve


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"20 degrees in {city}"


class Forecast(dspy.Signature):
    """Say how warm it is."""

    question: str = dspy.InputField()
    tools: list[dspy.Tool] = dspy.InputField()
    calls: dspy.ToolCalls = dspy.OutputField()


def model(api, name=gateway.model):
    return dspy.LM(
        f"openai/{name}",
        model_type=api,
        api_base=gateway.url,
        api_key=gateway.key,
        cache=False,
        num_retries=0,
    )


def chat(prompt, api):
    (answer,) = model(api)(prompt)
    return {"text": answer["text"] if api == "responses" else answer}


def _filled_in(prompt, api, adapter):
    with dspy.context(lm=model(api), adapter=adapter):
        found = dspy.Predict("question -> name: str, age: int")(question=prompt)
    return {"name": found.name, "age": found.age}


def fields(prompt, api):
    """The fields of a signature, which the model writes out one below the other."""
    return _filled_in(prompt, api, dspy.ChatAdapter())


def field_streamed(prompt, api):
    """A field as it comes, and as it is in the end."""

    async def read():
        ask = dspy.streamify(dspy.Predict("question -> answer"), stream_listeners=[StreamListener("answer")])
        with dspy.context(lm=model(api), adapter=dspy.ChatAdapter()):
            return [piece async for piece in ask(question=prompt)]

    *pieces, whole = asyncio.run(read())
    return {"pieces": [piece.chunk for piece in pieces], "whole": whole.answer}


def structured_by_mode(prompt, api):
    return _filled_in(prompt, api, dspy.JSONAdapter())


def called(prompt, api, name):
    """The calls that a model makes whose name DSPy knows to be able to; to others it sends no functions."""
    with dspy.context(lm=model(api, name), adapter=dspy.ChatAdapter(use_native_function_calling=True)):
        found = dspy.Predict(Forecast)(question=prompt, tools=[dspy.Tool(get_weather)])
    return [{"name": call.name, "arguments": call.args} for call in found.calls.tool_calls]


def refused(prompt, api):
    def ask():
        try:
            model(api)(prompt)
        except dspy.utils.exceptions.LMError as error:
            error.status_code = error.status
            raise

    return raised(ask)


serve(chat, fields, field_streamed, structured_by_mode, called, refused)
