"""langchain-anthropic."""

from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
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
    return ChatAnthropic(
        base_url=gateway.url.removesuffix("/v1"),
        api_key=gateway.key,
        model=gateway.model,
        max_tokens=4096,
        max_retries=0,
        **more,
    )


def chat(prompt):
    answer = model().invoke(prompt)
    usage = answer.usage_metadata
    return {
        "text": answer.text,
        "tokens": [usage["input_tokens"], usage["output_tokens"]],
        "reason": {"end_turn": "stop"}[answer.response_metadata["stop_reason"]],
    }


def stream(prompt):
    chunks = list(model().stream(prompt))
    whole = sum(chunks[1:], chunks[0])
    usage = whole.usage_metadata
    return {
        "pieces": [chunk.text for chunk in chunks],
        "tokens": [usage["input_tokens"], usage["output_tokens"]],
        "reason": {"end_turn": "stop"}[whole.response_metadata["stop_reason"]],
    }


def _loop(ask, prompt):
    messages = [HumanMessage(prompt)]
    answer = ask(messages)
    messages += [
        answer,
        *(ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in answer.tool_calls),
    ]
    calls = [{"name": call["name"], "arguments": call["args"]} for call in answer.tool_calls]
    return {"words": answer.text, "calls": calls, "text": ask(messages).text}


def tools(prompt):
    return _loop(model().bind_tools([get_weather]).invoke, prompt)


def tools_streamed(prompt):
    bound = model().bind_tools([get_weather])

    def ask(messages):
        first, *rest = bound.stream(messages)
        return sum(rest, first)

    return _loop(ask, prompt)


def structured(prompt):
    return model().with_structured_output(Person, method="json_schema").invoke(prompt).model_dump()


def structured_by_call(prompt):
    return model().with_structured_output(Person).invoke(prompt).model_dump()


def image(prompt, picture):
    parts = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": picture}}]
    return {"text": model().invoke([HumanMessage(parts)]).text}


def reasoning(prompt):
    def thoughts(message):
        return "".join(block.get("reasoning", "") for block in message.content_blocks if block["type"] == "reasoning")

    thinking = model(thinking={"type": "enabled", "budget_tokens": 2000})
    chunks = list(thinking.stream(prompt))
    return {"reasoning": thoughts(thinking.invoke(prompt)), "streamed": thoughts(sum(chunks[1:], chunks[0]))}


def refused(prompt):
    return raised(lambda: model().invoke(prompt))


serve(chat, stream, tools, tools_streamed, structured, structured_by_call, image, reasoning, refused)
