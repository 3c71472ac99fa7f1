"""The official Python SDK's Responses client against the real server."""

import openai
import pydantic
import pytest
from openai import OpenAI

SAID = "Héllo, wörld — **bold** 🌍\n\n```python\nprint('<b>')\n```\n\nDone."
WEATHER = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
TOOL = {
    "type": "function",
    "name": "get_weather",
    "strict": True,
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class Person(pydantic.BaseModel):
    name: str
    age: int


@pytest.fixture
def responses(gateway):
    with OpenAI(base_url=f"{gateway.base_url}/v1", api_key="none", max_retries=0, timeout=30) as made:
        yield made.responses


def test_an_answer_arrives_to_the_letter(responses, answers):
    answers(SAID)
    made = responses.create(model="auto", input="Say hello", instructions="Be brief.")
    assert (made.output_text, made.status) == (SAID, "completed")
    assert responses.retrieve(made.id).output_text == SAID
    assert responses.input_items.list(made.id).data[0].content[0].text == "Say hello"
    assert responses.input_tokens.count(model="auto", input="Say hello").input_tokens > 5
    responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        responses.retrieve(made.id)


def test_a_streamed_answer_arrives_to_the_letter(responses, answers):
    answers(SAID)
    with responses.stream(model="auto", input="Say hello") as stream:
        pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
        whole = stream.get_final_response()
    assert "".join(pieces) == whole.output_text == SAID
    assert len(pieces) > 2
    answers(SAID)
    events = list(responses.create(model="auto", input="Say hello", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.output_text == SAID


def test_a_structure_is_read(responses, answers):
    answers('Here:\n\n```json\n{"name": "Ada", "age": 36}\n```')
    parsed = responses.parse(model="auto", input="Who?", text_format=Person)
    assert parsed.output_parsed == Person(name="Ada", age=36)
    answers('```json\n{"name": "Ada", "age": 36}\n```')
    with responses.stream(model="auto", input="Who?", text_format=Person) as stream:
        assert stream.get_final_response().output_parsed == Person(name="Ada", age=36)


@pytest.mark.parametrize("by_id", [False, True])
def test_a_function_is_called_and_its_result_sent_back(responses, answers, turns, by_id):
    answers(f"Let me look.\n\n{WEATHER}", "It is 20 degrees.")
    with responses.stream(model="auto", input="How warm is Oslo?", tools=[TOOL]) as stream:
        first = stream.get_final_response()
    words, call = first.output
    assert (words.content[0].text, call.arguments) == ("Let me look.", '{"city":"Oslo"}')
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "20 degrees"}
    if by_id:
        last = responses.create(model="auto", input=[output], tools=[TOOL], previous_response_id=first.id)
    else:
        asked = {"role": "user", "content": "How warm is Oslo?"}
        items = [asked, *(item.to_dict() for item in first.output), output]
        last = responses.create(model="auto", input=items, tools=[TOOL])
    assert last.output_text == "It is 20 degrees."
    assert "20 degrees" in str(turns()[-1]["messages"][-1])


def test_it_goes_on_in_the_background(responses, answers):
    answers(SAID)
    stream = responses.create(model="auto", input="Say hello", background=True, stream=True)
    events = list(stream)
    again = list(responses.retrieve(events[0].response.id, stream=True, starting_after=1))
    assert again == events[2:]
    assert events[-1].response.output_text == SAID


def test_what_is_refused_has_its_class(responses):
    with pytest.raises(openai.BadRequestError) as raised:
        responses.create(model="auto", input="x", tools=[{"type": "mcp", "server_label": "x"}])
    assert (raised.value.code, raised.value.param) == ("unsupported_tool", "tools[0].type")
    with pytest.raises(openai.RateLimitError):
        responses.create(model="auto", input="[[status=429 clears_in=77]] x")
