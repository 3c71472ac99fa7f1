"""LiteLLM, as `openai/gateway.model` with an api_base."""

import litellm
from parts import gateway, raised, serve
from pydantic import BaseModel

litellm.telemetry = False

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


def ask(messages, **more):
    messages = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
    return litellm.completion(
        f"openai/{gateway.model}",
        messages=messages,
        api_base=gateway.url,
        api_key=gateway.key,
        max_retries=0,
        num_retries=0,
        **more,
    )


def chat(prompt):
    answer = ask(prompt)
    return {
        "text": answer.choices[0].message.content,
        "tokens": [answer.usage.prompt_tokens, answer.usage.completion_tokens],
        "reason": answer.choices[0].finish_reason,
    }


def stream(prompt):
    chunks = list(ask(prompt, stream=True, stream_options={"include_usage": True}))
    usage = chunks[-1].usage
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    return {
        "pieces": [choice.delta.content or "" for chunk in chunks for choice in chunk.choices],
        "tokens": [usage.prompt_tokens, usage.completion_tokens],
        "reason": reasons[0],
    }


def reasoning(prompt):
    message = ask(prompt).choices[0].message
    chunks = list(ask(prompt, stream=True))
    deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
    return {
        "reasoning": message.reasoning_content,
        "streamed": "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas),
    }


def _loop(send, prompt):
    messages = [{"role": "user", "content": prompt}]
    message = send(messages).choices[0].message
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "20 degrees in Oslo"} for call in message.tool_calls
    ]
    calls = [{"name": call.function.name, "arguments": call.function.arguments} for call in message.tool_calls]
    last = send([*messages, message.model_dump(exclude_none=True), *results])
    return {"words": message.content, "calls": calls, "text": last.choices[0].message.content}


def tools(prompt):
    return _loop(lambda messages: ask(messages, tools=[WEATHER]), prompt)


def tools_streamed(prompt):
    def send(messages):
        return litellm.stream_chunk_builder(list(ask(messages, tools=[WEATHER], stream=True)), messages=messages)

    return _loop(send, prompt)


def structured(prompt):
    return Person.model_validate_json(ask(prompt, response_format=Person).choices[0].message.content).model_dump()


def image(prompt, picture):
    parts = [{"type": "text", "text": prompt}, {"type": "image_url", "image_url": {"url": picture}}]
    return {"text": ask([{"role": "user", "content": parts}]).choices[0].message.content}


def refused(prompt):
    return raised(lambda: ask(prompt))


serve(chat, stream, reasoning, tools, tools_streamed, structured, image, refused)
