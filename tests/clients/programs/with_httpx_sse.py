"""httpx-sse: no client library at all, the wire as it is."""

import json

import httpx
from httpx_sse import connect_sse
from parts import gateway, serve


def _body(prompt):
    options = {"stream": True, "stream_options": {"include_usage": True}}
    return {"model": gateway.model, "messages": [{"role": "user", "content": prompt}], **options}


def _events(prompt):
    with (
        httpx.Client(headers={"authorization": f"Bearer {gateway.key}"}, timeout=60) as client,
        connect_sse(client, "POST", f"{gateway.url}/chat/completions", json=_body(prompt)) as source,
    ):
        return source.response.status_code, list(source.iter_sse())


def stream(prompt):
    _, events = _events(prompt)
    *chunks, last = [json.loads(event.data) for event in events[:-1]]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return {
        "names": sorted({event.event for event in events}),
        "end": events[-1].data,
        "pieces": [choice["delta"].get("content") or "" for choice in choices],
        "tokens": [last["usage"]["prompt_tokens"], last["usage"]["completion_tokens"]],
        "last": last["choices"],
        "reason": choices[-1]["finish_reason"],
    }


def failed(prompt):
    """What comes when upstream fails in the midst of an answer."""
    status, events = _events(prompt)
    return {"status": status, "last": json.loads(events[-1].data), "many": len(events)}


serve(stream, failed)
