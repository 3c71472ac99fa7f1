"""Who gets in, and who is told to stay out: every rule of the door, over HTTP."""

import asyncio
import re

import httpx
import pytest

from shim.apis.admin.door import COOKIE, CSRF

PRIVATE = [
    ("GET", "tokens/api/summary"),
    ("GET", "tokens/api/accounts"),
    ("POST", "tokens/api/accounts"),
    ("DELETE", "tokens/api/accounts"),
    ("DELETE", "tokens/api/accounts/x"),
    ("POST", "tokens/api/accounts/x/reset"),
    ("POST", "tokens/api/accounts/x/probe"),
    ("GET", "tokens/api/accounts/x"),
    ("GET", "tokens/api/accounts/x/usage"),
    ("PATCH", "tokens/api/accounts/x"),
    ("POST", "tokens/api/accounts/actions"),
    ("POST", "tokens/api/accounts/export"),
    ("POST", "tokens/upload"),
    ("POST", "tokens/clear"),
    ("GET", "tokens/error"),
    ("POST", "tokens/error"),
    ("POST", "tokens/logout"),
    ("GET", "tokens/api/keys"),
    ("POST", "tokens/api/keys"),
    ("GET", "tokens/api/usage"),
    ("GET", "tokens/api/calls"),
    ("GET", "tokens/api/recordings"),
    ("POST", "tokens/api/recordings"),
    ("GET", "tokens/api/recordings/x/y"),
    ("DELETE", "tokens/api/recordings/x"),
    ("DELETE", "tokens/api/keys/x"),
    ("POST", "tokens/api/keys/x/rotate"),
]
CHANGING = [(method, path) for method, path in PRIVATE if method != "GET"]
FILES = [
    *("tokens", "tokens/usage"),
    "tokens/parts/usage.js",  # and the other parts by the same route
]
FORWARDED = ["x-forwarded-for", "forwarded", "x-real-ip", "x-forwarded-host", "via", "cf-connecting-ip"]


def refusal(answer: httpx.Response) -> tuple[int, str]:
    """(status, code) of an error, whose envelope is checked."""
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert answer.headers["x-request-id"]
    return answer.status_code, error["code"]


def test_every_route_is_in_the_list(site):
    """A route that is not tried here might be one that nobody guards."""
    known = {("GET", f"/{path}".replace("parts/usage.js", "parts/{name:str}")) for path in FILES} | {
        ("POST", "/tokens/login"),
        ("GET", "/tokens/session"),
    }
    known |= {
        (
            method,
            "/"
            + path.replace("keys/x", "keys/{name:str}")
            .replace("recordings/x", "recordings/{order_id:str}")
            .replace("/y", "/{call_id:str}")
            .replace("/x", "/{account_id:str}"),
        )
        for method, path in PRIVATE
    }
    served = {
        (method, route.path) for route in site.app.routes for method in route.methods - {"OPTIONS", "HEAD"}
    }  # fmt: skip
    assert served == known


# --- with an admin key ------------------------------------------------------------------------------------------------


async def test_nobody_gets_anything_but_the_page(site):
    async with site.client() as nobody:
        for method, path in PRIVATE:
            assert refusal(await nobody.request(method, path)) == (401, "admin_login_needed"), path
        for path in FILES:
            assert (await nobody.get(path)).status_code == 200
        assert (await nobody.get("tokens/session")).json() == {
            "access": "key",
            "signed_in": False,
            "csrf": None,
            "chat_page": True,
        }


async def test_a_script_needs_the_key_and_nothing_else(site):
    async with site.script() as script:
        assert (await script.get("tokens/api/summary")).status_code == 200
        assert (await script.post("tokens/clear")).status_code == 200
        script.headers["origin"] = "https://elsewhere.example"  # it is not the browser that sends the key
        assert (await script.post("tokens/clear")).status_code == 200


@pytest.mark.parametrize("key", ["wrong", "", "the-admin-key-of-these-test", "the-admin-key-of-these-testsx", "ключ"])
async def test_a_wrong_key_is_refused(site, key):
    async with site.client(authorization=f"Bearer {key or chr(120)}".encode()) as script:
        assert refusal(await script.get("tokens/api/summary")) == (401, "invalid_admin_key")
    async with site.client() as person:
        assert refusal(await person.post("tokens/login", json={"key": key})) == (401, "invalid_admin_key")
        assert not person.cookies


async def test_api_keys_do_not_open_the_page(make_site):
    async with make_site(authorization=("api-key",)) as site, site.client(authorization="Bearer api-key") as client:
        assert refusal(await client.get("tokens/api/summary")) == (401, "invalid_admin_key")


async def test_the_login_of_a_proxy_is_no_guess(site):
    async with site.client(authorization="Basic eDp5") as client:
        for _ in range(10):
            assert refusal(await client.get("tokens/api/summary")) == (401, "admin_login_needed")
        await site.log_in(client)
        assert (await client.get("tokens/api/summary")).status_code == 200


async def test_logging_in_and_out(site):
    async with site.client() as person:
        await site.log_in(person)
        assert (await person.get("tokens/api/summary")).status_code == 200
        assert (await person.get("tokens/session")).json()["csrf"] == person.headers[CSRF]
        stolen = dict(person.cookies)
        answer = await person.post("tokens/logout")
        assert answer.status_code == 200
        assert not person.cookies
        assert refusal(await person.get("tokens/api/summary")) == (401, "admin_login_needed")
        person.cookies.update(stolen)
        assert refusal(await person.get("tokens/api/summary")) == (401, "admin_login_needed")


@pytest.mark.parametrize("form", [{"data": {"key": "KEY"}}, {"json": {"key": "KEY"}}, {"content": "KEY"}])
async def test_forms_of_logging_in(site, form):
    (kind, value), *_ = form.items()
    given = {kind: {"key": site.key} if isinstance(value, dict) else site.key}
    async with site.client() as person:
        assert (await person.post("tokens/login", **given)).json()["signed_in"] is True


async def test_what_is_in_the_cookie_header(site):
    async with site.client() as person:
        answer = await person.post("tokens/login", json={"key": site.key})
    header = answer.headers["set-cookie"]
    assert re.fullmatch(rf"{COOKIE}=[\w.-]+; HttpOnly; SameSite=strict", header), header
    value = header.split(";")[0].split("=")[1]
    assert len(value.split(".")[2]) == 43  # 256 bits
    assert site.key not in answer.text + header


@pytest.mark.parametrize("headers", [{"x-forwarded-proto": "https"}, {"origin": "https://HOST"}])
async def test_over_https_the_cookie_is_secure(site, headers):
    headers = {name: value.replace("HOST", site.base_url.removeprefix("http://")) for name, value in headers.items()}
    async with site.client(**headers) as person:
        answer = await person.post("tokens/login", json={"key": site.key})
    assert "; Secure" in answer.headers["set-cookie"]


async def test_the_cookie_is_for_the_page_alone_wherever_it_is(make_site):
    async with make_site(api_prefix="hidden") as site, site.client() as person:
        await site.log_in(person)
        (cookie,) = person.cookies.jar
        assert cookie.path == "/hidden/tokens"


async def test_a_session_ends_by_itself_and_use_prolongs_it(site):
    async with site.client() as person:
        await site.log_in(person)
        for _ in range(3):
            site.time.ahead += 1800
            assert (await person.get("tokens/session")).json()["signed_in"] is True
        site.time.ahead += 1800
        assert (await person.get("tokens/api/accounts")).status_code == 200  # watching is no use
        site.time.ahead += 1801
        assert refusal(await person.get("tokens/api/accounts")) == (401, "admin_login_needed")


async def test_a_session_holds_in_every_process_with_the_key(make_site):
    async with make_site() as one, make_site() as other, one.client() as person, other.client() as elsewhere:
        await one.log_in(person)
        elsewhere.cookies.set(COOKIE, person.cookies[COOKIE])
        elsewhere.headers[CSRF] = person.headers[CSRF]
        assert (await elsewhere.post("tokens/clear")).status_code == 200


async def test_guesses_are_limited_and_a_session_goes_on(site):
    async with site.client() as person, site.client() as guesser, site.script() as script:
        await site.log_in(person)
        for number in range(5):
            assert refusal(await guesser.post("tokens/login", json={"key": f"guess {number}"}))[0] == 401
        answer = await guesser.post("tokens/login", json={"key": "guess 5"})
        assert refusal(answer) == (429, "too_many_attempts")
        assert 1 <= int(answer.headers["retry-after"]) <= 10
        assert (await person.get("tokens/api/summary")).status_code == 200
        assert (await script.get("tokens/api/summary")).status_code == 200, "others' guesses lock nobody out"
        assert (await guesser.post("tokens/login", json={"key": site.key})).status_code == 200


async def test_guesses_made_at_once_are_limited_too(site):
    async with site.client() as guesser:
        tries = [guesser.post("tokens/login", json={"key": f"guess {number}"}) for number in range(40)]
        statuses = [answer.status_code for answer in await asyncio.gather(*tries)]
    assert (statuses.count(401), statuses.count(429)) == (5, 35)


async def test_guesses_from_many_addresses_are_limited_together(site):
    statuses = []
    for number in range(12):
        async with site.from_address(f"192.0.2.{number}") as guesser:
            answers = [await guesser.post("/tokens/login", json={"key": "guess"}) for _ in range(3)]
            statuses += [answer.status_code for answer in answers]
    assert (statuses.count(401), statuses.count(429)) == (30, 6)
    async with site.from_address("192.0.2.99") as owner:
        assert (await owner.post("/tokens/login", json={"key": site.key})).status_code == 200


# --- requests that other pages make -----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["an-admin-key", ""])
async def test_what_changes_something_needs_the_token(make_site, key):
    async with make_site(admin_key=key) as site, site.client() as person:
        await site.log_in(person)
        token = person.headers.pop(CSRF)
        for method, path in CHANGING:
            assert refusal(await person.request(method, path)) == (403, "csrf_token_needed"), path
            forged = await person.request(method, path, headers={CSRF: token[:-1] + "x"})
            assert refusal(forged) == (403, "csrf_token_needed"), path
        assert (await person.get("tokens/api/summary")).status_code == 200
        assert (await person.post("tokens/clear", headers={CSRF: token})).status_code == 200


async def test_the_token_of_another_session_is_none(site):
    async with site.client() as one, site.client() as other:
        await site.log_in(one)
        await site.log_in(other)
        answer = await one.post("tokens/clear", headers={CSRF: other.headers[CSRF]})
        assert refusal(answer) == (403, "csrf_token_needed")


@pytest.mark.parametrize("key", ["an-admin-key", ""])
@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://elsewhere.example"}, {"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}],
)
async def test_other_pages_can_neither_read_nor_change(make_site, key, headers):
    async with make_site(admin_key=key) as site, site.client() as person:
        await site.log_in(person)
        for method, path in [*PRIVATE, ("GET", "tokens/session"), ("POST", "tokens/login")]:
            assert refusal(await person.request(method, path, headers=headers)) == (403, "other_origin"), path


async def test_our_own_page_can(site):
    host = site.base_url.removeprefix("http://").rstrip("/")
    async with site.client() as person:
        await site.log_in(person)
        for headers in ({"origin": f"http://{host}"}, {"sec-fetch-site": "same-origin", "origin": "https://proxied"}):
            assert (await person.post("tokens/clear", headers=headers)).status_code == 200


async def test_a_link_on_another_page_leads_to_the_page(site):
    async with site.client() as person:
        headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
        assert (await person.get("tokens", headers=headers)).status_code == 200


# --- without an admin key ---------------------------------------------------------------------------------------------


async def test_this_machine_gets_in(open_site):
    async with open_site.client() as person:
        assert (await person.get("tokens/api/summary")).status_code == 200
        assert (await person.get("tokens/session")).json()["access"] == "loopback"
        await open_site.log_in(person)
        assert (await person.post("tokens/clear")).status_code == 200
        assert refusal(await person.post("tokens/login", json={"key": ""})) == (400, "admin_key_not_set")


@pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7", "::ffff:192.0.2.7", "testclient"])
async def test_other_machines_do_not(open_site, address):
    async with open_site.from_address(address) as stranger:
        for method, path in [*PRIVATE, *(("GET", path) for path in FILES), ("GET", "tokens/session")]:
            assert refusal(await stranger.request(method, f"/{path}")) == (403, "admin_key_needed"), path
        assert "ADMIN_KEY" in (await stranger.get("/tokens")).json()["error"]["message"]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
async def test_every_loopback_address_is_this_machine(open_site, address):
    async with open_site.from_address(address) as person:
        assert (await person.get("/tokens/api/summary")).status_code == 200


@pytest.mark.parametrize("header", FORWARDED)
async def test_a_proxy_on_this_machine_lets_nobody_in(open_site, header):
    async with open_site.client(**{header: "127.0.0.1"}) as stranger:
        for path in ["tokens", "tokens/api/summary"]:
            assert refusal(await stranger.get(path)) == (403, "admin_key_needed")


@pytest.mark.parametrize("host", ["rebind.example:5005", "127.0.0.1.nip.io", ""])
async def test_a_name_pointed_at_this_machine_lets_nobody_in(open_site, host):
    async with open_site.client(host=host) as stranger:
        assert (await stranger.get("tokens/api/summary")).status_code in {400, 403}


async def test_forwarded_addresses_are_not_believed(open_site):
    async with open_site.from_address("192.0.2.7") as stranger:
        answer = await stranger.get("/tokens", headers={"x-forwarded-for": "127.0.0.1", "host": "localhost"})
        assert refusal(answer) == (403, "admin_key_needed")


# --- headers ----------------------------------------------------------------------------------------------------------


async def test_every_answer_is_hardened_refusals_too(site):
    async with site.client() as nobody, site.script() as script:
        answers = [await nobody.get(path) for path in [*FILES, "tokens/session", "tokens/api/summary"]]
        answers += [await script.get(path) for path in ["tokens/api/summary", "tokens/api/accounts?limit=x"]]
        answers += [await script.post("tokens/api/accounts/x/reset")]
    assert {answer.status_code for answer in answers} == {200, 400, 401, 404}
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"]:
            assert part in policy.split("; ")
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer.headers


async def test_the_page_needs_nothing_from_elsewhere_and_nothing_inline(site):
    async with site.client() as nobody:
        texts = [(await nobody.get(path)).text for path in FILES]
    assert all(texts)
    for text in texts:
        if text.startswith("<!doctype"):
            assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|javascript:", text)
        assert not re.search(r"https?:|//[\w.]+\.\w+/", text)
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)
