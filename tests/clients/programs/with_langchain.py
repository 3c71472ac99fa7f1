"""langchain-openai."""

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from parts import gateway, raised, serve
from pydantic import BaseModel


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


@tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"20 degrees in {city}"


def model(**more):
    return ChatOpenAI(base_url=gateway.url, api_key=gateway.key, model=gateway.model, max_retries=0, **more)


def chat(prompt):
    answer = model().invoke(prompt)
    usage = answer.usage_metadata
    return {
        "text": answer.content,
        "tokens": [usage["input_tokens"], usage["output_tokens"]],
        "reason": answer.response_metadata["finish_reason"],
    }


def stream(prompt):
    whole = None
    pieces = []
    for chunk in model(stream_usage=True).stream(prompt):
        pieces.append(chunk.content)
        whole = chunk if whole is None else whole + chunk
    usage = whole.usage_metadata
    return {
        "pieces": pieces,
        "tokens": [usage["input_tokens"], usage["output_tokens"]],
        "reason": whole.response_metadata["finish_reason"],
    }


def _loop(ask, prompt):
    messages = [HumanMessage(prompt)]
    answer = ask(messages)
    messages += [
        answer,
        *(ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in answer.tool_calls),
    ]
    calls = [{"name": call["name"], "arguments": call["args"]} for call in answer.tool_calls]
    return {"words": answer.content, "calls": calls, "text": ask(messages).content}


def tools(prompt):
    return _loop(model().bind_tools([get_weather]).invoke, prompt)


def tools_streamed(prompt):
    bound = model().bind_tools([get_weather])

    def ask(messages):
        first, *rest = bound.stream(messages)
        return sum(rest, first)

    return _loop(ask, prompt)


def structured(prompt, method="json_schema"):
    return model().with_structured_output(Person, method=method).invoke(prompt).model_dump()


def structured_by_call(prompt):
    return structured(prompt, "function_calling")


def image(prompt, picture):
    parts = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": picture}}]
    return {"text": model().invoke([HumanMessage(parts)]).content}


def refused(prompt):
    return raised(lambda: model().invoke(prompt))


serve(chat, stream, tools, tools_streamed, structured, structured_by_call, image, refused)
