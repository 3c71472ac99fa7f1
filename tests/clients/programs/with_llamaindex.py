"""LlamaIndex's OpenAILike, told that it is a chat model that calls functions."""

from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from parts import gateway, raised, serve
from pydantic import BaseModel


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"20 degrees in {city}"


WEATHER = FunctionTool.from_defaults(get_weather)


def model(**more):
    return OpenAILike(
        model=gateway.model,
        api_base=gateway.url,
        api_key=gateway.key,
        is_chat_model=True,
        is_function_calling_model=True,
        max_retries=0,
        **more,
    )


def chat(prompt):
    answer = model().chat([ChatMessage(prompt)])
    usage = answer.raw.usage
    return {
        "text": answer.message.content,
        "tokens": [usage.prompt_tokens, usage.completion_tokens],
        "reason": answer.raw.choices[0].finish_reason,
    }


def stream(prompt):
    more = {"stream_options": {"include_usage": True}}
    chunks = list(model(additional_kwargs=more).stream_chat([ChatMessage(prompt)]))
    usage = chunks[-1].raw.usage
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.raw.choices if choice.finish_reason]
    return {
        "pieces": [chunk.delta for chunk in chunks],
        "tokens": [usage.prompt_tokens, usage.completion_tokens],
        "reason": reasons[0],
    }


def _loop(ask, prompt):
    llm = model()
    history = [ChatMessage(prompt)]
    answer = ask(llm, history)
    calls = llm.get_tool_calls_from_response(answer)
    history.append(answer.message)
    for call in calls:
        result = str(WEATHER(**call.tool_kwargs))
        history.append(ChatMessage(role="tool", content=result, additional_kwargs={"tool_call_id": call.tool_id}))
    return {
        "words": answer.message.content or "",
        "calls": [{"name": call.tool_name, "arguments": call.tool_kwargs} for call in calls],
        "text": ask(llm, history).message.content,
    }


def tools(prompt):
    return _loop(lambda llm, history: llm.chat_with_tools([WEATHER], chat_history=history), prompt)


def tools_streamed(prompt):
    return _loop(lambda llm, history: list(llm.stream_chat_with_tools([WEATHER], chat_history=history))[-1], prompt)


def structured_by_call(prompt):
    return model().as_structured_llm(Person).complete(prompt).raw.model_dump()


def structured(prompt):
    llm = model(should_use_structured_outputs=True)
    return llm.as_structured_llm(Person).complete(prompt).raw.model_dump()


def image(prompt, picture):
    blocks = [TextBlock(text=prompt), ImageBlock(url=picture)]
    return {"text": model().chat([ChatMessage(role="user", blocks=blocks)]).message.content}


def completed(prompt, stream):
    """As a model that is not for chat, which it then asks at the older endpoint."""
    llm = OpenAILike(model=gateway.model, api_base=gateway.url, api_key=gateway.key, is_chat_model=False, max_retries=0)
    if stream:
        return {"text": "".join(piece.delta for piece in llm.stream_complete(prompt))}
    return {"text": llm.complete(prompt).text}


def refused(prompt):
    return raised(lambda: model().chat([ChatMessage(prompt)]))


serve(chat, stream, tools, tools_streamed, structured, structured_by_call, image, completed, refused)
