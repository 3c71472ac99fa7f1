"""Traces by OpenTelemetry, with the extra `chat2api[otel]`: three spans for each call, made when it is over.

    chat auto ─────────────────────────────  from the request to the end of its answer
      upstream ──────────                    until upstream's answer was at its head
                         answer ───────────  from there to the end

Rules:
* OpenTelemetry's own variables say whether and where to (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SERVICE_NAME, …); without an
  endpoint nothing of it is imported;
* no span holds a message's text, a token or a key;
* spans are sent by a thread of the library's, in batches, and dropped where nobody takes them.
"""

import asyncio
import importlib
import logging
from collections.abc import Mapping
from typing import Any

from shim.usage import CallRecord

log = logging.getLogger("chat2api")

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_NAMES = {"chat": "chat", "responses": "chat", "messages": "chat", "completions": "text_completion"}


class Traces:
    """Where spans go. `provider` is OpenTelemetry's TracerProvider."""

    def __init__(self, provider: Any) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("chat2api")
        self._trace = importlib.import_module("opentelemetry.trace")
        self._context = importlib.import_module("opentelemetry.trace.propagation.tracecontext")

    def note(self, record: CallRecord, parent: str | None = None) -> None:
        """A call is over. `parent` is the client's `traceparent`."""
        carrier = {"traceparent": parent} if parent else {}
        context = self._context.TraceContextTextMapPropagator().extract(carrier)
        began, ended = _nanoseconds(record.at - record.ms / 1000), _nanoseconds(record.at)
        span = self._tracer.start_span(
            f"{record.api} {record.model}" if record.slug else record.api,
            context,
            self._trace.SpanKind.SERVER,
            attributes=_attributes(record),
            start_time=began,
        )
        if record.failed:
            span.set_status(self._trace.StatusCode.ERROR, record.status)
        below = self._trace.set_span_in_context(span)
        if record.tries:
            opened = ended if record.opened_ms is None else min(ended, began + _nanoseconds(record.opened_ms / 1000))
            tries = {"chat2api.tries": record.tries}
            upstream = self._tracer.start_span(
                "upstream", below, self._trace.SpanKind.CLIENT, attributes=tries, start_time=began
            )
            upstream.end(opened)
            if record.opened_ms is not None:
                self._tracer.start_span("answer", below, start_time=opened).end(ended)
        span.end(ended)

    async def close(self) -> None:
        """Send what is left."""
        await asyncio.to_thread(self._provider.shutdown)


def open_traces(environment: Mapping[str, str]) -> Traces | None:
    """Traces where the variables ask for them, None where they do not."""
    if not any(environment.get(name) for name in _ENDPOINTS):
        return None
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    try:
        sdk = importlib.import_module("opentelemetry.sdk.trace")
        sending = importlib.import_module("opentelemetry.sdk.trace.export")
        resources = importlib.import_module("opentelemetry.sdk.resources")
        exporter = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ImportError:
        log.warning("%s is set, but traces need the extra: pip install 'chat2api[otel]'", _ENDPOINTS[-1])
        return None
    named = {} if environment.get("OTEL_SERVICE_NAME") else {"service.name": "chat2api"}
    # At exit would be too late, and once for each gateway of the process.
    provider = sdk.TracerProvider(resource=resources.Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(sending.BatchSpanProcessor(exporter.OTLPSpanExporter()))
    return Traces(provider)


def _attributes(record: CallRecord) -> dict[str, str | int | bool]:
    known: dict[str, str | int | bool | None] = {
        "gen_ai.operation.name": _NAMES.get(record.api, record.api),
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": record.model,
        "gen_ai.response.model": record.slug,
        "gen_ai.usage.input_tokens": record.tokens[0] if record.tokens else None,
        "gen_ai.usage.output_tokens": record.tokens[1] if record.tokens else None,
        "http.response.status_code": record.code,
        "error.type": record.status if record.failed else None,
        "chat2api.request_id": record.id,
        "chat2api.api": record.api,
        "chat2api.status": record.status,
        "chat2api.account": record.account,
        "chat2api.key": record.key,
        "chat2api.stream": record.stream,
    }
    return {name: value for name, value in known.items() if value is not None}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
