"""Two gateways, processes of their own, on one real Redis: what one of them counts and records, the other tells."""

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

ADMIN = {"authorization": "Bearer admin-key"}
BODY = {"model": "auto", "messages": [{"role": "user", "content": "a text that is nobody's business"}]}


@pytest.fixture(scope="module")
def two(start_gateway, shared_standin, shared_redis):
    settings = {
        "CHATGPT_BASE_URL": shared_standin.base_url,
        "ADMIN_KEY": "admin-key",
        "AUTHORIZATION": "first-key,second-key,third-key,fourth-key",
        "REDIS_URL": shared_redis(),
    }
    return [start_gateway(process=True, **settings) for _ in range(2)]


def chat(server, key: str) -> httpx.Response:
    return server.post("/v1/chat/completions", BODY, authorization=f"Bearer {key}")


def told(server, path: str) -> dict:
    answer = httpx.get(f"{server.base_url}/tokens/api/{path}", headers=ADMIN, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer.json()


def wait_for(look, wanted):
    until = time.monotonic() + 30
    while (found := look()) != wanted:
        assert time.monotonic() < until, found
        time.sleep(0.2)


def requests(server, names: tuple[str, ...]) -> dict[str, int]:
    return {row["key"]: row["requests"] for row in told(server, "usage?days=2&by=key")["rows"] if row["key"] in names}


def test_recorded_by_whichever_is_called_and_only_so_often(two):
    one, other = two
    order = httpx.post(
        f"{one.base_url}/tokens/api/recordings", json={"key": "env-2", "count": 3}, headers=ADMIN, trust_env=False
    ).json()["order"]["id"]
    wait_for(lambda: [view["order"]["id"] for view in told(other, "recordings")["orders"]], [order])

    def recorded(server) -> int:
        (view,) = told(server, "recordings")["orders"]
        return len(view["recordings"])

    assert chat(one, "first-key").status_code == 200  # of another key
    with ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(lambda place: chat(two[place % 2], "second-key").status_code, range(12)))
    assert codes == [200] * 12
    wait_for(lambda: recorded(one), 3)
    (view,) = told(other, "recordings")["orders"]
    assert not view["standing"]
    for taken in view["recordings"]:
        cassette = httpx.get(
            f"{other.base_url}/tokens/api/recordings/{order}/{taken['call']['id']}", headers=ADMIN, trust_env=False
        )
        assert cassette.headers["content-disposition"] == f'attachment; filename="{taken["call"]["id"]}.json"'
        paths = [one["request"]["path"] for one in cassette.json()["interactions"]]
        assert any(path.endswith("/conversation") for path in paths)
        assert any("/chat-requirements" in path for path in paths), paths  # also where one was at hand
        assert BODY["messages"][0]["content"] not in cassette.text
        assert "second-key" not in cassette.text
    place = f"{other.base_url}/tokens/api/recordings/{order}"
    assert httpx.get(f"{place}/{taken['call']['id']}", trust_env=False).status_code == 401
    assert httpx.delete(place, headers=ADMIN, trust_env=False).json() == {"removed": 1}
    assert httpx.get(f"{place}/{taken['call']['id']}", headers=ADMIN, trust_env=False).status_code == 404
    assert told(one, "recordings")["orders"] == []


def test_usage_adds_up_and_stays_when_one_is_killed(two):
    one, other = two
    names = ("env-3", "env-4")  # of this test alone: what others asked may still be on its way to the store
    with ThreadPoolExecutor(8) as pool:
        codes = list(
            pool.map(
                lambda place: chat(two[place % 2], ("third-key", "fourth-key")[place % 4 // 2]).status_code, range(80)
            )
        )
    assert codes == [200] * 80
    wait_for(lambda: requests(one, names), dict.fromkeys(names, 40))
    wait_for(lambda: requests(other, names), dict.fromkeys(names, 40))
    other.kill()
    assert [chat(one, "third-key").status_code for _ in range(5)] == [200] * 5
    wait_for(lambda: requests(one, names), {"env-3": 45, "env-4": 40})
    calls = [call for call in told(one, "calls?limit=1000")["calls"] if call["key"] in names]
    assert len({call["id"] for call in calls}) == 85


@pytest.mark.parametrize(
    "body", [b"{", b'{"count": 11}', b'{"minutes": 0}', b'{"failed": "yes"}', b'{"keys": "x"}', b'{"key": ""}', b"[]"]
)
def test_orders_that_can_not_be(two, body):
    refused = httpx.post(f"{two[0].base_url}/tokens/api/recordings", content=body, headers=ADMIN, trust_env=False)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_recording")
