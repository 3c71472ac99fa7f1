"""The official Python SDK's Responses client against the real server."""

import random

import openai
import pydantic
import pytest
from openai import AsyncOpenAI, OpenAI

from shim.standin.png import picture

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


def test_a_stream_is_taken_up_by_its_id(responses, answers):
    answers(SAID)
    created, *_ = responses.create(model="auto", input="Say hello", background=True, stream=True)
    with responses.stream(response_id=created.response.id, starting_after=created.sequence_number) as stream:
        assert next(iter(stream)).sequence_number == created.sequence_number + 1
        assert stream.get_final_response().output_text == SAID


def test_a_job_is_cancelled(responses):
    job = responses.create(model="auto", input="[[script=stall stall=60]] x", background=True)
    assert job.status in {"queued", "in_progress"}
    assert responses.cancel(job.id).status == "cancelled"
    assert responses.retrieve(job.id).status == "cancelled"


def test_a_history_is_compacted_and_gone_on_with(responses, answers, turns):
    answers("Paris it is.", "They chose Paris.", "By train.")
    first = responses.create(model="auto", input="Where to?")
    compacted = responses.compact(model="auto", previous_response_id=first.id)
    assert [item.type for item in compacted.output] == ["compaction"]
    items = [item.to_dict() for item in compacted.output]
    last = responses.create(model="auto", input=[*items, {"role": "user", "content": "How?"}])
    assert last.output_text == "By train."
    assert "They chose Paris." in str(turns()[-1]["messages"])


def test_files_that_were_uploaded_go_upstream_by_their_ids(gateway, make_account, answers, turns):
    answers("Milk, and a dot.")
    key = make_account("files", plan="plus")
    with OpenAI(base_url=f"{gateway.base_url}/v1", api_key=key, max_retries=0, timeout=30) as client:
        notes = client.files.create(file=("notes.txt", b"Buy milk."), purpose="user_data")
        dot = client.files.create(file=("dot.png", picture(8, 8, random.Random(1))), purpose="vision")
        content = [
            {"type": "input_text", "text": "What is this?"},
            {"type": "input_file", "file_id": notes.id},
            {"type": "input_image", "file_id": dot.id, "detail": "auto"},
        ]
        asked = client.responses.create(model="auto", input=[{"role": "user", "content": content}])
        assert asked.output_text == "Milk, and a dot."
        with pytest.raises(openai.NotFoundError) as raised:
            gone = [{"type": "input_file", "file_id": "file-none"}]
            client.responses.create(model="auto", input=[{"role": "user", "content": gone}])
    assert raised.value.param == "input[0].content[0].file_id"
    (turn,) = turns()
    message = turn["messages"][-1]
    assert [one["name"] for one in message["metadata"]["attachments"]] == ["notes.txt", "dot.png"]
    assert message["content"]["content_type"] == "multimodal_text"


async def test_the_async_client_gets_the_same(gateway, answers):
    answers(SAID, SAID)
    async with AsyncOpenAI(base_url=f"{gateway.base_url}/v1", api_key="none", max_retries=0, timeout=30) as client:
        assert (await client.responses.create(model="auto", input="Say hello")).output_text == SAID
        async with client.responses.stream(model="auto", input="Say hello") as stream:
            assert (await stream.get_final_response()).output_text == SAID


def test_what_is_refused_has_its_class(responses):
    with pytest.raises(openai.BadRequestError) as raised:
        responses.create(model="auto", input="x", tools=[{"type": "mcp", "server_label": "x"}])
    assert (raised.value.code, raised.value.param) == ("unsupported_tool", "tools[0].type")
    with pytest.raises(openai.RateLimitError):
        responses.create(model="auto", input="[[status=429 clears_in=77]] x")
