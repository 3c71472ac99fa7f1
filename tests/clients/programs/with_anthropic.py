"""Anthropic's own library."""

import json

import anthropic
from parts import gateway, raised, serve

WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


def client():
    return anthropic.Anthropic(base_url=gateway.url.removesuffix("/v1"), api_key=gateway.key, max_retries=0)


def asked(content, **more):
    return {"model": gateway.model, "max_tokens": 4096, "messages": [{"role": "user", "content": content}], **more}


def said(message):
    return "".join(block.text for block in message.content if block.type == "text")


def chat(prompt):
    message = client().messages.create(**asked(prompt))
    assert message.stop_reason == "end_turn"
    usage = message.usage
    return {"text": said(message), "tokens": [usage.input_tokens, usage.output_tokens], "reason": "stop"}


def stream(prompt):
    with client().messages.stream(**asked(prompt)) as events:
        pieces = list(events.text_stream)
        message = events.get_final_message()
    assert said(message) == "".join(pieces)
    usage = message.usage
    reason = {"end_turn": "stop"}[message.stop_reason]
    return {"pieces": pieces, "tokens": [usage.input_tokens, usage.output_tokens], "reason": reason}


def _loop(ask, prompt):
    request = asked(prompt, tools=[WEATHER])
    message = ask(request)
    uses = [block for block in message.content if block.type == "tool_use"]
    results = [
        {"type": "tool_result", "tool_use_id": use.id, "content": f"20 degrees in {use.input['city']}"} for use in uses
    ]
    request["messages"] += [
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": results},
    ]
    return {
        "words": said(message),
        "calls": [{"name": use.name, "arguments": use.input} for use in uses],
        "text": said(ask(request)),
    }


def tools(prompt):
    return _loop(lambda request: client().messages.create(**request), prompt)


def tools_streamed(prompt):
    def ask(request):
        with client().messages.stream(**request) as events:
            written = "".join(event.partial_json for event in events if event.type == "input_json")
            message = events.get_final_message()
        for block in message.content:
            assert block.type != "tool_use" or block.input == json.loads(written)
        return message

    return _loop(ask, prompt)


def tool_runner(prompt):
    """The library's own loop."""

    @anthropic.beta_tool
    def get_weather(city: str) -> str:
        """The weather in a city.

        Args:
            city: Which.
        """
        return f"20 degrees in {city}"

    runner = client().beta.messages.tool_runner(**asked(prompt, tools=[get_weather]))
    return {"text": said(runner.until_done())}


def image(prompt, picture):
    data = picture.partition(",")[2]
    source = {"type": "base64", "media_type": "image/png", "data": data}
    blocks = [{"type": "text", "text": prompt}, {"type": "image", "source": source}]
    return {"text": said(client().messages.create(**asked(blocks)))}


def reasoning(prompt):
    request = asked(prompt, thinking={"type": "adaptive"})
    message = client().messages.create(**request)
    with client().messages.stream(**request) as events:
        streamed = "".join(event.thinking for event in events if event.type == "thinking")
    return {"reasoning": message.content[0].thinking, "streamed": streamed}


def count(prompt):
    request = asked(prompt, tools=[WEATHER], system="Be brief.")
    message = client().messages.create(**request)
    del request["max_tokens"]
    counted = client().messages.count_tokens(**request)
    return {"counted": counted.input_tokens, "used": message.usage.input_tokens}


def failed(prompt):
    """What a user sees of an answer that breaks off."""

    def act():
        with client().messages.stream(**asked(prompt)) as events:
            events.until_done()

    return raised(act)


def refused(prompt):
    return raised(lambda: client().messages.create(**asked(prompt)))


def files(prompt, name, text):
    """A file that is uploaded once, named in a request, fetched and deleted."""
    api = client()
    made = api.files.upload(file=(name, text.encode(), "text/plain"))
    document = {"type": "document", "source": {"type": "file", "file_id": made.id}}
    answer = said(api.messages.create(**asked([{"type": "text", "text": prompt}, document])))
    listed = [one.id for one in api.files.list()]
    content = api.files.download(made.id).read().decode()
    api.files.delete(made.id)
    return {
        "text": answer,
        "listed": made.id in listed,
        "content": content,
        "left": [one.id for one in api.files.list()],
    }


def models():
    return [one.id for one in client().models.list()]


def search(prompt):
    tool = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    return {"text": said(client().messages.create(**asked(prompt, tools=[tool])))}


def stopped(prompt, stop):
    message = client().messages.create(**asked(prompt, stop_sequences=[stop]))
    return {"text": said(message), "reason": message.stop_reason, "stop": message.stop_sequence}


serve(
    chat,
    stream,
    tools,
    tools_streamed,
    tool_runner,
    image,
    reasoning,
    count,
    failed,
    refused,
    files,
    models,
    search,
    stopped,
)
