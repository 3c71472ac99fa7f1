"""Traces: where OpenTelemetry's variables lead, three spans a call arrive, and nothing of what was said."""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from shim.metrics.traces import open_traces
from tests.servers import ROOT

CHAT = "/v1/chat/completions"
SECRET = "a text that nobody but the model may have"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class _Receiver(BaseHTTPRequestHandler):
    """Takes spans as a collector does."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.came.append((self.path, body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def receiver(monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Receiver)
    server.came = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def plain(attributes):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def test_each_call_is_three_spans_below_the_client_s_own(receiver, start_gateway, shared_standin):
    gateway = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, AUTHORIZATION="a-key-of-this-gateway")
    body = {"model": "auto", "stream": True, "messages": [{"role": "user", "content": SECRET}]}
    key = {"authorization": "Bearer a-key-of-this-gateway"}
    answered = gateway.post(CHAT, body, traceparent=f"00-{TRACE}-{PARENT}-01", **key)
    assert answered.status_code == 200
    assert gateway.post(CHAT, body | {"model": "nope"}, **key).status_code == 404
    gateway.stop()  # sends what is left
    assert {path for path, _ in receiver.came} == {"/v1/traces"}
    spans = []
    for _, sent in receiver.came:
        for told in ExportTraceServiceRequest.FromString(sent).resource_spans:
            resource = plain(told.resource.attributes)
            assert resource["service.name"] == "chat2api"
            assert resource["deployment.environment.name"] == "test"
            spans += [span for scope in told.scope_spans for span in scope.spans]
        for secret in (SECRET, "a-key-of-this-gateway"):
            assert secret.encode() not in sent
    mine = {span.name: span for span in spans if span.trace_id.hex() == TRACE}
    assert set(mine) == {"chat auto", "upstream", "answer"}
    call, upstream, answer = mine["chat auto"], mine["upstream"], mine["answer"]
    assert call.parent_span_id.hex() == PARENT
    assert upstream.parent_span_id == answer.parent_span_id == call.span_id
    assert call.start_time_unix_nano == upstream.start_time_unix_nano
    assert upstream.end_time_unix_nano == answer.start_time_unix_nano
    assert (
        call.start_time_unix_nano < answer.start_time_unix_nano < answer.end_time_unix_nano == call.end_time_unix_nano
    )
    about = plain(call.attributes)
    assert about["chat2api.request_id"] == answered.headers["x-request-id"]
    assert (about["gen_ai.request.model"], about["http.response.status_code"], about["chat2api.key"]) == (
        "auto",
        200,
        "env-1",
    )
    assert about["gen_ai.usage.output_tokens"] > 0
    (failed,) = (span for span in spans if span.trace_id.hex() != TRACE)
    assert (plain(failed.attributes)["error.type"], failed.status.code) == ("model_not_found", 2)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_an_endpoint_there_are_none(environment):
    assert open_traces(environment) is None


def test_nothing_of_it_is_imported_where_it_is_off():
    asked = (
        "import sys, shim.app; from shim.metrics.traces import open_traces; assert open_traces({}) is None; "
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, cwd=ROOT)
    assert told.stdout.strip() == "[]"


def test_without_the_extra_it_says_which_one_is_needed(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    assert open_traces({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}) is None
    assert "pip install 'chat2api[otel]'" in caplog.text
