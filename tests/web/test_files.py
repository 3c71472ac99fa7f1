"""The page's files: served as they should be, small, and what others wrote is what they published."""

import gzip
import hashlib
import re
from pathlib import Path

import httpx
import pytest

from shim.http.static import CONTENT_SECURITY_POLICY

WEB = Path(__file__).parents[2] / "shim" / "web"
VENDOR = WEB / "vendor"
FIRST_PAINT_BYTES = 100_000


def vendored() -> dict[str, str]:
    """File -> SHA-256, as VENDOR says."""
    lines = (VENDOR / "VENDOR").read_text().splitlines()
    rows = [re.split(r"\s{2,}", line) for line in lines if line and not line.startswith("#")]
    assert all(len(row) == 5 for row in rows)
    return {row[0]: row[4] for row in rows}


def test_what_others_wrote_is_unchanged_and_all_of_it_is_listed():
    files = {path.relative_to(VENDOR).as_posix() for path in VENDOR.rglob("*") if path.is_file()} - {"VENDOR"}
    assert files == set(vendored())
    changed = [
        name for name, sha in vendored().items() if hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() != sha
    ]
    assert changed == []


def test_each_of_them_comes_with_its_licence():
    folders = [path for path in VENDOR.iterdir() if path.is_dir()]
    assert len(folders) == 6
    assert [folder.name for folder in folders if not (folder / "LICENSE").is_file()] == []


def imported(name: str, seen: set[str] | None = None) -> set[str]:
    """The modules that are there before anything is asked, by following `import`."""
    seen = set() if seen is None else seen
    if name not in seen:
        seen.add(name)
        for other in re.findall(r'^import (?:.* from )?"\./(.+)";$', (WEB / "chat" / name).read_text(), re.MULTILINE):
            imported(other, seen)
    return seen


def test_what_is_needed_first_is_asked_for_at_once():
    preloaded = re.findall(r'rel="modulepreload" href="web/\{version\}/chat/(.+?)"', (WEB / "chat.html").read_text())
    assert set(preloaded) == imported("app.js") - {"app.js"}
    assert "markdown.js" not in preloaded


def test_no_line_of_the_page_is_inline():
    html = (WEB / "chat.html").read_text()
    assert not re.search(r"<style|\bstyle=|\son\w+=|javascript:", html)
    assert not re.findall(r"<script(?![^>]*\bsrc=)", html)
    assert not re.search(r"https?://", html)


def address(gateway, name: str, prefix: str = "/") -> str:
    return prefix + re.search(rf'"(web/\w+/{re.escape(name)})"', gateway.get(prefix).text)[1]


def test_the_page_is_kept_from_everything_but_itself(gateway):
    answer = gateway.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy == CONTENT_SECURITY_POLICY
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not re.search(r"unsafe|\*|https?:", policy)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["x-request-id"].startswith("req_")


def test_the_page_is_asked_for_again_and_its_files_are_kept_for_ever(gateway):
    page, script = gateway.get("/"), gateway.get(address(gateway, "chat/app.js"))
    assert page.headers["cache-control"] == "no-cache"
    assert script.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    again = httpx.get(f"{gateway.base_url}/", headers={"if-none-match": page.headers["etag"]}, trust_env=False)
    assert (again.status_code, again.content) == (304, b"")
    other = httpx.get(f"{gateway.base_url}/", headers={"if-none-match": '"other"'}, trust_env=False)
    assert other.status_code == 200


@pytest.mark.parametrize(
    ("accepted", "packed"), [("gzip, br", True), ("GZIP;q=0, identity", False), ("gzip;q=0", False), ("br", False)]
)
def test_files_are_compressed_for_who_can_read_that(gateway, accepted, packed):
    url = gateway.base_url + address(gateway, "chat/app.js")
    with httpx.stream("GET", url, headers={"accept-encoding": accepted}, trust_env=False) as answer:
        body = b"".join(answer.iter_raw())
    assert (answer.headers.get("content-encoding") == "gzip") is packed
    assert answer.headers["vary"] == "accept-encoding"
    assert (gzip.decompress(body) if packed else body) == (WEB / "chat" / "app.js").read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "chat/nothing.js",
        "vendor/VENDOR",
        "vendor/mermaid/mermaid.tiny.js",
        "accounts.js",
        "../routes/page.py",
        "chat.html",
    ],
)
def test_nothing_else_is_served(gateway, name):
    script = address(gateway, "chat/app.js")
    answer = gateway.get(script.replace("chat/app.js", name.replace("..", "%2e%2e")))
    assert answer.status_code == 404
    assert answer.json()["error"]["message"]


def test_the_frame_of_diagrams_has_two_scripts_and_nothing_to_reach(gateway):
    answer = gateway.get(address(gateway, "chat/app.js").replace("app.js", "diagram.html"))
    policy = answer.headers["content-security-policy"]
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert policy.startswith("sandbox allow-scripts; default-src 'none'; script-src 'sha256-")
    assert "frame-ancestors 'self'" in policy
    assert not re.search(r"connect-src|img-src|same-origin|script-src[^;]*'(?:self|unsafe)", policy)
    scripts = re.findall(r"<script>(.*?)</script>", answer.text, re.DOTALL)
    assert scripts == [(VENDOR / "mermaid/mermaid.tiny.js").read_text(), (WEB / "chat/diagram-frame.js").read_text()]


def test_another_releases_files_are_not_mixed_in(gateway):
    answer = gateway.get("/web/0123456789abcdef/chat/app.js")
    assert answer.status_code == 404
    assert "reload the page" in answer.json()["error"]["message"]


def test_below_a_prefix_and_without_a_key(start_gateway, shared_standin):
    gateway = start_gateway(
        "/deep/hidden/healthz",
        CHATGPT_BASE_URL=shared_standin.base_url,
        API_PREFIX="deep/hidden",
        AUTHORIZATION="the-key-of-this-test",
    )
    assert gateway.get("/deep/hidden/").status_code == 200
    assert gateway.get(address(gateway, "chat/app.js", "/deep/hidden/")).status_code == 200
    moved = gateway.get("/deep/hidden")
    assert (moved.status_code, moved.headers["location"]) == (307, "hidden/")
    assert gateway.get("/").status_code == 404


def test_it_can_be_switched_off(start_gateway, shared_standin):
    gateway = start_gateway(CHATGPT_BASE_URL=shared_standin.base_url, ENABLE_GATEWAY="false")
    assert gateway.get("/").status_code == 404
    assert gateway.get("/web/x/chat/app.js").status_code == 404
    assert gateway.get("/v1/models").status_code == 200


async def test_the_first_paint_is_light(gateway, visit):
    """All bytes on the wire, headers included, until the page stands ready."""
    async with visit("about:blank") as chat:
        session = await chat.page.context.new_cdp_session(chat.page)
        sizes: list[float] = []
        session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        await session.send("Network.enable")
        await chat.page.goto(f"{gateway.base_url}/")
        await chat.page.wait_for_load_state("networkidle")
        assert len(sizes) > 10
        assert sum(sizes) < FIRST_PAINT_BYTES
        assert not [url for url in chat.addresses if "/vendor/" in url]
        chat.check()


async def test_it_can_be_installed(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        session = await chat.page.context.new_cdp_session(chat.page)
        told = await session.send("Page.getAppManifest")
        assert told["errors"] == []
        assert told["manifest"]["startUrl"] == f"{gateway.base_url}/"
        assert (await session.send("Page.getInstallabilityErrors"))["installabilityErrors"] in (
            [],
            [{"errorId": "in-incognito", "errorArguments": []}],  # which is what a test's context is
        )
        chat.check()
