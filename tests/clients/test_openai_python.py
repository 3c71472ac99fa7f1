"""The official Python SDK against the real server: text, errors, types."""

import openai
import pydantic
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

UNICODE = "[[script=unicode seed=7]] Say something"
PLAIN = "[[seed=7]] Tell me about gateways"
PICTURE = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
)


@pytest.fixture
def client(gateway):
    with OpenAI(base_url=f"{gateway.base_url}/v1", api_key="none", max_retries=0, timeout=30) as made:
        yield made


@pytest.fixture
async def async_client(gateway):
    async with AsyncOpenAI(base_url=f"{gateway.base_url}/v1", api_key="none", max_retries=0, timeout=30) as made:
        yield made


def ask(text):
    return {"model": "auto", "messages": [{"role": "user", "content": text}]}


def text_of(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def assert_known(model):
    """Nothing on the object that the SDK does not know, at any depth, but what we add on purpose."""
    extra = set(model.model_extra or {}) - {"reasoning_content", "chatgpt"}
    assert not extra, (type(model).__name__, extra)
    for _, value in model:
        for one in value if isinstance(value, list) else [value]:
            if hasattr(one, "model_extra"):
                assert_known(one)


@pytest.mark.parametrize("prompt", [PLAIN, UNICODE, "[[script=code seed=7]] x", "[[script=long words=800 seed=7]] x"])
def test_the_same_text_streamed_and_not(client, prompt):
    whole = client.chat.completions.create(**ask(prompt))
    chunks = list(client.chat.completions.create(**ask(prompt), stream=True))
    assert whole.choices[0].message.content
    assert text_of(chunks) == whole.choices[0].message.content
    assert whole.choices[0].finish_reason == chunks[-1].choices[0].finish_reason == "stop"


async def test_the_async_client_gets_the_same(async_client, client):
    whole = await async_client.chat.completions.create(**ask(PLAIN))
    stream = await async_client.chat.completions.create(**ask(PLAIN), stream=True)
    chunks = [chunk async for chunk in stream]
    assert text_of(chunks) == whole.choices[0].message.content
    assert client.chat.completions.create(**ask(PLAIN)).choices[0].message.content == text_of(chunks)


@pytest.mark.parametrize("chunks", ["whole", "split", "bytes"])
@pytest.mark.parametrize("encoding", ["snapshot", "v1"])
@pytest.mark.parametrize("script", ["text", "unicode", "code", "reasoning", "hidden"])
def test_snapshots_and_deltas_however_cut_say_the_same(client, script, encoding, chunks):
    plain = client.chat.completions.create(**ask(f"[[script={script} seed=7]] Say it")).choices[0].message
    told = f"[[script={script} seed=7 encoding={encoding} chunks={chunks}]] Say it"
    same = client.chat.completions.create(**ask(told)).choices[0].message
    assert same.content.replace(told, "") == plain.content.replace(f"[[script={script} seed=7]] Say it", "")
    assert same.model_extra == plain.model_extra


def test_every_object_is_one_the_sdk_knows(client):
    whole = client.chat.completions.create(**ask(PLAIN))
    assert_known(whole)
    ChatCompletion.model_validate(whole.model_dump(), strict=True)
    stream = client.chat.completions.create(**ask(PLAIN), stream=True, stream_options={"include_usage": True})
    for chunk in stream:
        assert_known(chunk)
        ChatCompletionChunk.model_validate(chunk.model_dump(), strict=True)


def test_usage_comes_last_and_is_the_same_both_ways(client):
    whole = client.chat.completions.create(**ask(PLAIN)).usage
    chunks = list(client.chat.completions.create(**ask(PLAIN), stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert whole.total_tokens == whole.prompt_tokens + whole.completion_tokens
    assert whole.completion_tokens > 20


def test_reasoning_is_beside_the_content(client):
    message = client.chat.completions.create(**ask("[[script=reasoning seed=7]] Think")).choices[0].message
    assert message.reasoning_content
    assert message.reasoning_content not in message.content
    chunks = list(client.chat.completions.create(**ask("[[script=reasoning seed=7]] Think"), stream=True))
    reasoned = "".join(getattr(chunk.choices[0].delta, "reasoning_content", None) or "" for chunk in chunks)
    assert reasoned == message.reasoning_content


def test_ids_and_times(client):
    import time

    one, two = (client.chat.completions.create(**ask("hi")) for _ in range(2))
    assert one.id.startswith("chatcmpl-")
    assert one.id != two.id
    assert abs(one.created - time.time()) < 60
    assert one.model == "auto"
    chunks = list(client.chat.completions.create(**ask("hi"), stream=True))
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1


def test_roles_and_content_forms(client, upstream):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Be kind."}]},
        {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]},
        {"role": "assistant", "content": None},
        {"role": "assistant"},
        {"role": "user", "content": "Three"},
    ]
    assert client.chat.completions.create(model="auto", messages=messages).choices[0].message.content
    sent = upstream.get("/standin/stats").json()["recent_turns"][-1]["conversation"]["messages"]
    assert [(one["author"]["role"], one["content"]["parts"]) for one in sent] == [
        ("system", ["Be brief."]),
        ("system", ["Be kind."]),
        ("user", ["One\nTwo"]),
        ("assistant", [""]),
        ("assistant", [""]),
        ("user", ["Three"]),
    ]


def test_the_stream_helper_works(client):
    with client.chat.completions.stream(**ask(PLAIN)) as stream:
        text = "".join(event.delta for event in stream if event.type == "content.delta")
        assert stream.get_final_completion().choices[0].message.content == text


def test_text_completions(client):
    whole = client.completions.create(model="auto", prompt="[[say=one two STOP]]", stop="STOP", echo=True, n=2)
    assert_known(whole)
    assert [one.text for one in whole.choices] == ["[[say=one two STOP]]one two "] * 2
    stream = client.completions.create(model="auto", prompt=PLAIN, stream=True, stream_options={"include_usage": True})
    *chunks, last = list(stream)
    for chunk in chunks:
        assert_known(chunk)
    text = "".join(chunk.choices[0].text for chunk in chunks)
    same = client.completions.create(model="auto", prompt=[PLAIN])
    assert (text, chunks[-1].choices[0].finish_reason) == (same.choices[0].text, "stop")
    assert last.usage == same.usage
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(model="auto", prompt=[1, 2])
    assert caught.value.param == "prompt"


def test_models(client, make_account):
    names = [model.id for model in client.models.list()]
    assert names[0] == "auto"
    assert "gpt-3.5-turbo" in names
    assert "gpt-4" not in names
    assert client.models.retrieve("gpt-4o-mini").id == "gpt-4o-mini"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-4")
    assert caught.value.code == "model_not_found"
    mine = client.with_options(api_key=make_account("alice", plan="plus"))
    assert {"gpt-4", "gpt-5.2-thinking", "o3"} <= {model.id for model in mine.models.list()}


@pytest.mark.parametrize("name", ["gpt-4", "gpt-4-0613", "gpt-5.2", "gpt-5-2", "gpt-4o-2024-08-06", "o3", "gpt-4.1"])
def test_a_plus_account_gets_the_model_it_asks_for(client, make_account, upstream, name):
    mine = client.with_options(api_key=make_account("alice", plan="plus"))
    answer = mine.chat.completions.create(**ask("hi") | {"model": name})
    assert answer.model == name
    sent = upstream.get("/standin/stats").json()["recent_turns"][-1]["conversation"]["model"]
    assert sent in {"gpt-4", "gpt-5-2", "gpt-4o", "o3", "gpt-4-1"}


ERRORS = [
    ("bad_request", openai.BadRequestError, 400, None),
    ("content_policy", openai.BadRequestError, 400, "content_policy_violation"),
    ("unauthorized", openai.AuthenticationError, 401, "invalid_api_key"),
    ("token_expired", openai.AuthenticationError, 401, "invalid_api_key"),
    ("sentinel", openai.PermissionDeniedError, 403, "upstream_forbidden"),
    ("unusual_activity", openai.PermissionDeniedError, 403, "upstream_forbidden"),
    ("cloudflare", openai.PermissionDeniedError, 403, "cf-please-wait"),
    ("conversation_not_found", openai.NotFoundError, 404, "conversation_not_found"),
    ("model_not_found", openai.NotFoundError, 404, "model_not_found"),
    ("parallel", openai.RateLimitError, 429, "rate_limit_exceeded"),
    ("too_long", openai.BadRequestError, 400, "context_length_exceeded"),
    ("conversation_too_large", openai.BadRequestError, 400, "context_length_exceeded"),
    ("invalid_body", openai.BadRequestError, 400, None),
    ("missing_messages", openai.BadRequestError, 400, None),
    ("model_cap", openai.RateLimitError, 429, "model_cap_exceeded"),
    ("too_many_requests", openai.RateLimitError, 429, "rate_limit_exceeded"),
    ("limit_page", openai.RateLimitError, 429, "rate_limit_exceeded"),
    ("internal", openai.InternalServerError, 502, "upstream_500"),
    ("unavailable", openai.InternalServerError, 502, "upstream_503"),
    ("edge_522", openai.InternalServerError, 502, "upstream_522"),
]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("failure", "kind", "status", "code"), ERRORS)
def test_each_refusal_raises_the_right_class(client, failure, kind, status, code, stream):
    with pytest.raises(kind) as caught:
        client.chat.completions.create(**ask(f"[[failure={failure}]] hi"), stream=stream)
    assert caught.value.status_code == status
    assert caught.value.code == code
    assert set(caught.value.body) == {"message", "type", "param", "code"}


def test_a_limit_says_when_to_come_back(client):
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(**ask("[[status=429 clears_in=77]] hi"))
    assert caught.value.response.headers["retry-after"] == "77"
    assert caught.value.response.headers["x-should-retry"] == "false"  # the SDK would sleep through it


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [("error_first", 502, "upstream_error"), ("error_limit", 429, None), ("empty", 502, "empty_stream")],
)
def test_a_failure_before_any_output_is_a_status_in_both_modes(client, script, status, code):
    for stream in (False, True):
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(**ask(f"[[script={script}]] hi"), stream=stream)
        assert caught.value.status_code == status
        assert code in (None, caught.value.code)


@pytest.mark.parametrize(("script", "code"), [("error", "upstream_error"), ("cut", "upstream_cut")])
def test_a_failure_after_some_output_is_in_band_or_a_502(client, script, code):
    with pytest.raises(openai.InternalServerError) as whole:
        client.chat.completions.create(**ask(f"[[script={script}]] hi"))
    assert (whole.value.status_code, whole.value.code) == (502, code)
    received = []
    with pytest.raises(openai.APIError) as streamed:
        for chunk in client.chat.completions.create(**ask(f"[[script={script}]] hi"), stream=True):
            received.append(chunk)  # noqa: PERF402  what came before the error counts too
    assert text_of(received)
    assert streamed.value.code == code
    assert all(chunk.choices[0].finish_reason is None for chunk in received)


@pytest.mark.parametrize(
    ("script", "reason"), [("max_tokens", "length"), ("interrupted", "stop"), ("moderation_blocked", "content_filter")]
)
def test_other_ends(client, script, reason):
    assert client.chat.completions.create(**ask(f"[[script={script}]] hi")).choices[0].finish_reason == reason
    chunks = list(client.chat.completions.create(**ask(f"[[script={script}]] hi"), stream=True))
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == [reason]


def test_the_sdk_does_not_retry_what_cannot_get_better(gateway, upstream):
    with OpenAI(base_url=f"{gateway.base_url}/v1", api_key="none", max_retries=3) as patient:
        before = upstream.get("/standin/stats").json()["refusals"]
        with pytest.raises(openai.PermissionDeniedError):
            patient.chat.completions.create(**ask("[[failure=sentinel]] hi"))
        after = upstream.get("/standin/stats").json()["refusals"]
    assert sum(after.values()) - sum(before.values()) == 1


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "%s"}}\n</tool_call>'


class Person(pydantic.BaseModel):
    """Somebody."""

    name: str
    age: int


class GetWeather(pydantic.BaseModel):
    """The weather in a city."""

    city: str


@pytest.mark.parametrize("stream", [False, True])
def test_a_loop_of_calls(client, answers, turns, stream):
    answers(f"Let me look.\n{CALL % 'Oslo'}\n{CALL % 'Bergen'}", "Both 20 degrees.")
    messages = [{"role": "user", "content": "How warm are Oslo and Bergen?"}]

    def send():
        if not stream:
            return client.chat.completions.create(model="auto", messages=messages, tools=[WEATHER]).choices[0]
        with client.chat.completions.stream(model="auto", messages=messages, tools=[WEATHER]) as events:
            return events.get_final_completion().choices[0]

    first = send()
    assert (first.finish_reason, first.message.content) == ("tool_calls", "Let me look.")
    assert [call.function.arguments for call in first.message.tool_calls] == ['{"city":"Oslo"}', '{"city":"Bergen"}']
    assert len({call.id for call in first.message.tool_calls}) == 2
    results = [{"role": "tool", "tool_call_id": call.id, "content": "20 degrees"} for call in first.message.tool_calls]
    messages += [first.message, *results]
    second = send()
    assert (second.finish_reason, second.message.content) == ("stop", "Both 20 degrees.")
    assert not second.message.tool_calls
    sent = str(turns()[-1]["messages"])
    assert all(call.id in sent for call in first.message.tool_calls)


def test_chunks_of_calls_are_whole_and_known(client, answers):
    answers(f"{CALL % 'Oslo'}\n{CALL % 'Bergen'}")
    chunks = list(client.chat.completions.create(**ask("Warm?"), tools=[WEATHER], stream=True))
    for chunk in chunks:
        assert_known(chunk)
    pieces = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert sorted({piece.index for piece in pieces}) == [0, 1]
    assert [(piece.type, piece.function.name) for piece in pieces if piece.id] == [("function", "get_weather")] * 2
    reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason]
    assert reasons == ["tool_calls"]


def test_parse_gives_the_arguments_as_an_object(client, answers):
    answers(CALL.replace("get_weather", "GetWeather") % "Oslo")
    tool = openai.pydantic_function_tool(GetWeather)
    whole = client.chat.completions.parse(**ask("Warm?"), tools=[tool], tool_choice="required")
    assert whole.choices[0].message.tool_calls[0].function.parsed_arguments == GetWeather(city="Oslo")


def test_parse_gives_the_structure(client, answers):
    answers('Here:\n```json\n{"name": "Ada", "age": 36}\n```')
    whole = client.chat.completions.parse(**ask("Who?"), response_format=Person)
    assert whole.choices[0].message.parsed == Person(name="Ada", age=36)


def test_the_stream_helper_parses_as_it_goes(client, answers):
    answers('{"name": "Ada", "age": 36}')
    with client.chat.completions.stream(**ask("Who?"), response_format=Person) as events:
        kinds = {event.type for event in events}
        parsed = events.get_final_completion().choices[0].message.parsed
    assert {"content.delta", "content.done"} <= kinds
    assert parsed == Person(name="Ada", age=36)


def test_any_json_object(client, answers):
    answers('Sure: {"a": [1, 2]} Anything else?')
    whole = client.chat.completions.create(**ask("JSON, please"), response_format={"type": "json_object"})
    assert whole.choices[0].message.content == '{"a": [1, 2]}'


def test_json_that_never_fits_is_an_error_with_a_name(client, answers):
    answers('{"name": "Ada"}', '{"name": "Ada", "age": "old"}')
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.parse(**ask("Who?"), response_format=Person)
    assert (caught.value.status_code, caught.value.code) == (502, "invalid_json_answer")


def test_a_call_that_is_required_and_never_comes_is_an_error_with_a_name(client, answers):
    answers("No.", "Still no.")
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(**ask("Warm?"), tools=[WEATHER], tool_choice="required")
    assert (caught.value.status_code, caught.value.code) == (502, "invalid_tool_call")


@pytest.mark.parametrize("stream", [False, True])
def test_several_choices(client, answers, turns, stream):
    answers("One.", "Two.", "Three.")
    if stream:
        texts = ["", "", ""]
        for chunk in client.chat.completions.create(**ask("Count"), n=3, stream=True):
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
    else:
        choices = client.chat.completions.create(**ask("Count"), n=3).choices
        assert [choice.index for choice in choices] == [0, 1, 2]
        texts = [choice.message.content for choice in choices]
    assert sorted(texts) == ["One.", "Three.", "Two."]
    assert len(turns()) == 3


@pytest.mark.parametrize("stop", ["four", ["four", "never"], [" four"]])
def test_stop_ends_the_answer_before_the_word(client, answers, stop):
    for stream in (False, True):
        answers("one two three four five")
        made = client.chat.completions.create(**ask("Count"), stop=stop, stream=stream)
        choices = [chunk.choices[0] for chunk in made] if stream else made.choices
        assert "".join(spoken(choice) for choice in choices).strip() == "one two three"
        assert choices[-1].finish_reason == "stop"


def spoken(choice):
    """The text of a whole choice, or of a streamed one's piece."""
    return (choice.delta if hasattr(choice, "delta") else choice.message).content or ""


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_limit_of_tokens_cuts(client, answers, field):
    answers("one two three four five six seven eight nine ten")
    whole = client.chat.completions.create(**ask("Count"), **{field: 4})
    assert whole.choices[0].finish_reason == "length"
    assert whole.usage.completion_tokens == 4
    assert "one two three four five six".startswith(whole.choices[0].message.content)


def test_a_picture_needs_an_account_and_goes_upstream_with_one(client, answers, turns, make_account):
    image = {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, image]}]
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="auto", messages=messages)
    answers("A dot.")
    mine = client.with_options(api_key=make_account("alice", plan="plus"))
    whole = mine.chat.completions.create(model="auto", messages=messages)
    assert whole.choices[0].message.content == "A dot."
    assert turns()[-1]["messages"][-1]["content"]["content_type"] == "multimodal_text"


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"messages": "hello"}, "messages"),
        ({"n": 0}, "n"),
        ({"tools": [{"type": "function", "function": {"name": "no spaces please"}}]}, "tools[0].function.name"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ],
)
def test_a_wrong_request_is_told_which_field(client, wrong, param):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**ask("hi") | wrong)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
