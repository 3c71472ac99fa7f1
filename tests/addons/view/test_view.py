"""The debug view in real mitmproxies: what it shows, says and gives away, and that the wire does not notice it."""

import json
import subprocess
import threading
import time
from pathlib import Path

import httpx
import pytest

from shim.cassettes.format import load_cassette

ROOT = Path(__file__).parents[3]
ANSWER = "The word is marmalade."


def eventually(look, seconds=20.0):
    """What `look` sees, as soon as it is something."""
    until = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return seen


def test_a_finished_flow_reads_as_a_conversation_on_either_side(watch_web, planted, ask, pieces):
    web = watch_web(planted.base_url)
    assert ask(web.base_url).content == b"".join(pieces)
    (flow,) = web.flows()
    shown = web.shown(flow)
    assert shown["view_name"] == "ChatGPT conversation"
    for line in (
        "outcome       stop",
        "answered by   gpt-5-mini",
        "conversation  91be2e50-7a5c-495a-9ca3-4eff32d746d0",
        "message       5cf1de10-8a5c-495a-9ca3-4eff32d746d1",
        "  user: What is the word? I'm bob.jones@mail.example.org",
        "  title_generation ×1",
        "started    gpt-5-mini",
        "text       3 pieces, 22 characters",
        "finished   stop",
        f"── answer ──\n  {ANSWER}",
    ):
        assert line in shown["text"]
    assert web.shown(flow, "request")["text"] == shown["text"]
    assert web.shown(flow, view="raw")["text"].replace("\r", "").startswith("event: delta_encoding")
    assert '"action"' in web.shown(flow, "request", view="json")["text"]


def test_a_flow_can_be_read_while_it_streams(watch_web, planted, ask):
    web = watch_web(planted.base_url)
    asking = threading.Thread(target=ask, args=(web.base_url, "?held"))
    asking.start()
    page = eventually(
        lambda: next(
            (text for flow in web.flows() if "marmalade" in (text := web.shown(flow, "request")["text"])), None
        )
    )
    assert "outcome       still streaming" in page
    assert page.endswith("── answer so far ──\n  The word is marmalade\n")
    time.sleep(0.3)
    planted.go_on.set()
    asking.join(30)
    (flow,) = web.flows()
    assert ANSWER in web.shown(flow)["text"]
    assert float(flow["comment"].split("total ")[1].split()[0]) >= 0.3


@pytest.mark.parametrize(
    ("query", "begins"),
    [
        ("", "gpt-5-mini  stop  22 characters  first "),
        ("?cut", "gpt-5-mini  failed upstream_cut  21 characters  first "),
        ("?refused", "auto  failed model_cap_exceeded  total "),
    ],
)
def test_a_comment_says_how_it_went_and_gives_nothing_away(watch_web, planted, ask, secrets, query, begins):
    web = watch_web(planted.base_url)
    try:
        ask(web.base_url, query)
    except httpx.RemoteProtocolError:
        assert query == "?cut"
    comment = eventually(lambda: web.flows()[0]["comment"])
    assert comment.startswith(begins)
    assert comment.endswith(("chunk", "chunks"))
    assert not [secret for secret in (*secrets, "marmalade") if secret in comment + web.running.log]


def test_the_commands_export_and_curl_give_no_secret_away(watch_web, planted, ask, secrets, tmp_path):
    web = watch_web(planted.base_url)
    ask(web.base_url)
    assert "error" not in web.command("chat.export", "@all", str(tmp_path / "one.json"))
    (call,) = load_cassette(tmp_path / "one.json").interactions
    assert call.request.path == "/backend-api/conversation"
    assert len(call.response.chunks) == 9
    assert b"marmalade" in call.response.body()
    command = web.command("chat.curl", "@all")["value"]
    assert "$ACCESS_TOKEN" in command
    given = (tmp_path / "one.json").read_text() + command
    assert not [secret for secret in secrets if secret in given]
    assert oct((tmp_path / "one.json").stat().st_mode)[-3:] == "600"
    assert "can't write" in web.command("chat.export", "@all", str(tmp_path / "none" / "one.json"))["error"]


def test_what_the_view_does_not_know_stays_as_it_was(watch_web, planted, asked):
    web = watch_web(planted.base_url)
    httpx.post(f"{web.base_url}/backend-api/me", **asked)
    (flow,) = web.flows()
    assert web.shown(flow, "request")["view_name"] == "JSON"
    assert flow["comment"] == ""
    assert b"marmalade" in web.body(flow)


def test_an_answer_beyond_the_limit_passes_whole_and_is_said_to_be_cut(watch_web, planted, ask, pieces):
    web = watch_web(planted.base_url, "--set", "chat2api_view_limit=600")
    assert ask(web.base_url).content == b"".join(pieces)
    (flow,) = web.flows()
    page = web.shown(flow, "request")["text"]
    assert "outcome       not kept whole" in page
    assert "── answer ──\n  The word is" in page


@pytest.mark.parametrize("stream", [True, False])
def test_beside_an_addon_that_rewrites_upstreams_side_is_shown(watch_web, upstream, stream):
    settings = ("--set", f"chatgpt_base_url={upstream.base_url}")
    web = watch_web(upstream.base_url, "-s", str(ROOT / "addons" / "bridge.py"), *settings)
    body = {"model": "auto", "stream": stream, "messages": [{"role": "user", "content": "[[script=text]] Hello"}]}
    answer = httpx.post(f"{web.base_url}/v1/chat/completions", json=body, trust_env=False, timeout=60)
    assert "chat.completion" in answer.text
    flow = next(flow for flow in web.flows() if flow["comment"])
    assert flow["request"]["path"].endswith("/conversation")
    assert "  stop  " in flow["comment"]
    page = web.shown(flow, "request")["text"]
    assert "finished   stop" in page
    assert "user: [[script=text]] Hello" in page


PROBE = """
import json, pathlib
from mitmproxy import ctx

class Probe:
    def response(self, flow):
        folder = pathlib.Path.cwd()
        ctx.master.commands.call("chat2api.export", [flow], str(folder / "out.json"))
        told = {"curl": ctx.master.commands.call("chat2api.curl", flow), "comment": flow.comment}
        if "view.flows.resolve" in ctx.master.commands.commands:
            assert ctx.master.commands.execute("chat2api.curl @all") == told["curl"]
            ctx.master.commands.execute(f"chat2api.export @all {folder}/out.json")
        (folder / "told.json").write_text(json.dumps(told))

addons = [Probe()]
"""


@pytest.mark.parametrize("program", ["mitmdump", "mitmweb"])
def test_the_comment_and_the_commands_are_there_at_the_end_of_a_flow(
    watch, watch_web, planted, ask, secrets, tmp_path, program
):
    (tmp_path / "probe.py").write_text(PROBE)
    saved = tmp_path / "saved.flows"
    arguments = ("-s", str(tmp_path / "probe.py"), "-w", str(saved))
    proxy = (
        watch_web(planted.base_url, *arguments).running if program == "mitmweb" else watch(planted.base_url, *arguments)
    )
    ask(proxy.base_url)
    told = eventually(
        lambda: (proxy.folder / "told.json").exists() and json.loads((proxy.folder / "told.json").read_text())
    )
    proxy.stop()
    assert told["comment"].startswith("gpt-5-mini  stop  22 characters")
    given = told["curl"] + told["comment"] + (proxy.folder / "out.json").read_text() + proxy.log
    assert not [secret for secret in secrets if secret in given]
    assert "marmalade" not in proxy.log
    assert b"marmalade" in saved.read_bytes()


def test_a_flow_file_can_be_read_later_with_its_times(watch, watch_web, planted, ask, tmp_path):
    saved = tmp_path / "saved.flows"
    proxy = watch(planted.base_url, "-w", str(saved))
    ask(proxy.base_url)
    proxy.stop()
    web = watch_web(planted.base_url, "-r", str(saved))
    (flow,) = eventually(web.flows)
    assert "  9 chunks" in web.shown(flow)["text"]
    assert ANSWER in web.shown(flow)["text"]


def run_inside(mitmproxy_python, script, *arguments):
    """Run a script where mitmproxy is; whatever it prints is a failure."""
    command = [mitmproxy_python, "-c", script, str(ROOT), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


INSIDE = """
import gzip, json, logging, sys
sys.path.insert(0, sys.argv[1])
from mitmproxy import contentviews, exceptions, io
from mitmproxy.test import taddons, tflow, tutils
from addons import view

pieces = [piece.encode() for piece in json.loads(sys.argv[2])]
secret = "a secret sentence"
records = []
handler = logging.Handler()
handler.emit = lambda record: records.append(record.getMessage())
logging.getLogger("addons.view").addHandler(handler)
logging.getLogger("addons.view").propagate = False

def make(**answer):
    answer = {"headers": ((b"content-type", b"text/event-stream"),), "content": None} | answer
    asked = tutils.treq(method=b"POST", path=b"/backend-api/f/conversation?x=1", content=b"{}")
    flow = tflow.tflow(req=asked, resp=tutils.tresp(**answer))
    flow.response.timestamp_end = None
    return flow

def play(addon, flow):
    flow.response, answer = None, flow.response
    addon.requestheaders(flow)
    flow.response = answer
    addon.responseheaders(flow)
    for chunk in [*pieces, b""] if flow.response.stream else []:
        flow.response.stream(chunk)
    flow.response.timestamp_end = flow.response.timestamp_start + 1
    addon.response(flow)

addon = view.DebugView()
with taddons.context(addon) as context:
    # another stream callable is wrapped, whether it was there before or comes after
    flow, rewritten = make(), []
    flow.response.stream = lambda chunk: rewritten.append(chunk) or ([b"X"] if chunk else [])
    addon.responseheaders(flow)
    assert [flow.response.stream(chunk) for chunk in [*pieces, b""]] == [[b"X"]] * len(pieces) + [[]]
    assert rewritten == [*pieces, b""]
    flow.response.timestamp_end = flow.response.timestamp_start + 1
    addon.response(flow)
    assert flow.response.raw_content == b"".join(pieces)
    assert "marmalade" in view.page_of(flow)
    # the metadata of a flow can be saved, copied and compared
    assert io.tnetstring.dumps(flow.get_state()) and "marmalade" in view.page_of(flow.copy())
    # a coded stream is read as well, half of it too
    coded = gzip.compress(b"".join(pieces))
    flow = make(headers=((b"content-type", b"text/event-stream"), (b"content-encoding", b"gzip")))
    addon.responseheaders(flow)
    assert [flow.response.stream(coded[:200]), flow.response.stream(coded[200:])] == [coded[:200], coded[200:]]
    flow.response.timestamp_end = flow.response.timestamp_start + 1
    addon.response(flow)
    assert flow.response.raw_content == coded and "marmalade" in view.page_of(flow)
    # a body that was not streamed is read as well, and so is a completion of ours
    flow = make(content=b"".join(pieces), headers=((b"content-type", b"Text/Event-Stream"),))
    addon.response(flow)
    flow.response.timestamp_end = flow.response.timestamp_start + 1
    assert "marmalade" in view.page_of(flow)
    # a comment of a person's stays; ours is renewed when the flow is sent again
    flow = make()
    flow.comment = "mine"
    play(addon, flow)
    assert flow.comment == "mine"
    flow = make()
    play(addon, flow)
    assert flow.comment.startswith("gpt-5-mini  stop"), flow.comment
    flow.response, whole, pieces = make().response, pieces, pieces[:4]
    play(addon, flow)
    pieces = whole
    assert flow.comment.startswith("gpt-5-mini  failed upstream_cut"), flow.comment
    # whatever fails in here ends in here, and the log is not told what it said
    def fail(*_, **__):
        raise ValueError(secret)
    for name in ("timeline_of", "is_conversation_call"):
        kept = getattr(view, name)
        setattr(view, name, fail)
        play(addon, make())
        setattr(view, name, kept)
    flow = make()
    addon.responseheaders(flow)
    view.time.monotonic, kept = fail, view.time.monotonic
    assert flow.response.stream(b"on its way") == b"on its way"
    view.time.monotonic = kept
    assert len(records) == 4 and "ValueError" in records[0], records
    assert not [record for record in records if secret in record or "marmalade" in record]
    flow.metadata[view.NOTE] = {"chunks": 7}
    assert view.page_of(flow).startswith("This conversation can't be shown (KeyError)")
    # what is no HTTP, or has no answer, is told so
    for call in (lambda: addon.curl(tflow.ttcpflow()), lambda: addon.export([tflow.tflow(resp=False)], "x")):
        try:
            call()
        except exceptions.CommandError:
            continue
        raise AssertionError("the command took it")
    unanswered = tflow.tflow(req=tutils.treq(method=b"POST", path=b"/v1/chat/completions", content=b"{}"))
    assert "no answer yet" in view.page_of(unanswered)
    addon.error(unanswered)
    # the two shapes of a content view show the same
    flow = make(content=b"".join(pieces))
    legacy = view.LegacyConversationView()
    assert legacy.render_priority(b"", flow=flow) == 2.0 and legacy.render_priority(b"") == -1.0
    described, lines = legacy(b"", flow=flow)
    assert "\\n".join(text for line in lines for _, text in line) == view.page_of(flow).rstrip()
    assert [text for line in legacy(b"plain")[1] for _, text in line] == ["plain"]
"""


def test_hooks_wrap_guard_and_renew(mitmproxy_python, pieces):
    run_inside(mitmproxy_python, INSIDE, json.dumps([piece.decode() for piece in pieces]))


def test_the_probe_of_failures_can_fail(mitmproxy_python):
    with pytest.raises(AssertionError):
        run_inside(mitmproxy_python, "print('something')")
