"""What is in deploy/ fits the program: names of settings and metrics, ports, probes, and the parts to one another."""

import asyncio
import copy
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from shim.apis.admin.metrics import metrics
from shim.http.health import healthz, readyz
from shim.metrics.metrics import Metrics, OpenCounts
from shim.settings import SECRET, describe

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SETTINGS = {name for name, _, _ in describe()}
KUBERNETES = {
    name: list(yaml.safe_load_all((DEPLOY / f"kubernetes/{name}.yaml").read_text())) for name in ("single", "several")
}
OBJECTS = KUBERNETES["several"]
RULES = yaml.safe_load((DEPLOY / "prometheus-rules.yaml").read_text())["groups"]
BOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
ALERTS = [rule for group in RULES for rule in group["rules"]]
QUERIES = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]


@pytest.fixture(scope="module")
def told() -> set[str]:
    """The name of every sample that a gateway tells."""

    async def text() -> str:
        made = Metrics()
        made.open(lambda: OpenCounts(1, 0, 0, {"ready": 1}, 0, True))
        text = (await made.text()).decode()
        await made.close()
        return text

    return {
        name + ending
        for name, kind in re.findall(r"^# TYPE (\S+) (\S+)", asyncio.run(text()), re.M)
        for ending in (("_bucket", "_sum", "_count") if kind == "histogram" else ("",))
    }


def named(expression: str) -> set[str]:
    return set(re.findall(r"\bchat2api_\w+", expression))


def test_every_metric_that_is_shown_or_watched_exists(told: set[str]) -> None:
    assert len(QUERIES) > 20
    assert len(ALERTS) > 8
    shown = set().union(*map(named, QUERIES)), set().union(*(named(rule["expr"]) for rule in ALERTS))
    assert shown[0] - told == set()
    assert shown[1] - told == set()


def test_every_metric_is_documented_and_no_other(told: set[str]) -> None:
    page = (ROOT / "docs/metrics.md").read_text()
    documented = set(re.findall(r"`(chat2api_\w+)`", page))
    assert documented == {re.sub(r"_(bucket|sum|count)$", "", name) for name in told}


@pytest.mark.parametrize("expression", [*QUERIES, *(rule["expr"] for rule in ALERTS)])
def test_expressions_are_closed(expression: str) -> None:
    for opening, closing in ("()", "{}", "[]"):
        assert expression.count(opening) == expression.count(closing)
    assert expression.count('"') % 2 == 0


def test_alerts_say_how_bad_it_is_and_what_it_is() -> None:
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)
    for rule in ALERTS:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"].startswith("{{ $labels.instance }}")


def test_panels_have_places_of_their_own() -> None:
    places = [tuple(panel["gridPos"][side] for side in "xywh") for panel in BOARD["panels"]]
    taken = [(x + dx, y + dy) for x, y, w, h in places for dx in range(w) for dy in range(h)]
    assert len(taken) == len(set(taken))
    assert max(x for x, _ in taken) < 24
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(places)


# --- Kubernetes -------------------------------------------------------------------------------------------------------


def one(kind: str, name: str = "chat2api") -> dict:
    (found,) = [object for object in OBJECTS if object["kind"] == kind and object["metadata"]["name"] == name]
    return found


def test_kubernetes_settings_exist_and_hold_no_secret() -> None:
    assert set(one("ConfigMap")["data"]) <= SETTINGS - (SECRET - {"REDIS_URL"})
    assert all(isinstance(value, str) for value in one("ConfigMap")["data"].values())
    assert not [object for object in OBJECTS if object["kind"] == "Secret"]


def test_kubernetes_probes_and_ports_are_the_program_s() -> None:
    gateway = one("StatefulSet")["spec"]
    (container,) = gateway["template"]["spec"]["containers"]
    port = one("ConfigMap")["data"]["PORT"]
    assert container["ports"] == [{"name": "http", "containerPort": int(port)}]
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {probe["port"] for probe in probes.values()} == {"http"}
    assert probes["liveness"]["path"] in healthz.paths
    assert probes["readiness"]["path"] in readyz.paths
    assert {one("Service")["spec"]["ports"][0]["targetPort"]} == {"http"}
    grace = gateway["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > int(one("ConfigMap")["data"]["SHUTDOWN_TIMEOUT"]) + 5
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert {one("ConfigMap")["data"]["DATA_DIR"], "/tmp"} == mounts
    assert gateway["replicas"] > 1


def test_kubernetes_parts_find_one_another() -> None:
    labels = [object["spec"]["template"]["metadata"]["labels"] for object in OBJECTS if object["kind"] == "StatefulSet"]
    selectors = [
        object["spec"]["selector"].get("matchLabels", object["spec"]["selector"])
        for object in OBJECTS
        if "selector" in object.get("spec", {})
    ]
    selectors.append(one("NetworkPolicy", "chat2api-valkey")["spec"]["podSelector"]["matchLabels"])
    assert len(selectors) == 6
    for selector in selectors:
        assert [one for one in labels if selector.items() <= one.items()], selector
    services = {object["metadata"]["name"] for object in OBJECTS if object["kind"] == "Service"}
    assert {object["spec"]["serviceName"] for object in OBJECTS if object["kind"] == "StatefulSet"} <= services
    host = re.fullmatch(r"redis://([\w-]+):(\d+)/0", one("ConfigMap")["data"]["REDIS_URL"])
    assert host is not None
    (port,) = one("Service", host[1])["spec"]["ports"]
    assert port["port"] == int(host[2])


def test_kubernetes_containers_may_do_little() -> None:
    for set_of_pods in (one("StatefulSet"), one("StatefulSet", "chat2api-valkey")):
        pod = set_of_pods["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert not pod["automountServiceAccountToken"]
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]


def test_a_single_gateway_is_run_as_one_of_several_is() -> None:
    """What they differ in: how many, and where the state is kept."""
    alone = {object["kind"]: copy.deepcopy(object) for object in KUBERNETES["single"]}
    together = {kind: copy.deepcopy(one(kind)) for kind in alone}
    assert set(alone) == {"ConfigMap", "StatefulSet", "Service"}
    assert alone["StatefulSet"]["spec"].pop("replicas") == 1
    for key in ("replicas", "podManagementPolicy"):
        together["StatefulSet"]["spec"].pop(key)
    del together["ConfigMap"]["data"]["REDIS_URL"]
    assert alone == together


def test_the_images_user_is_the_pods_user() -> None:
    (uid,) = re.findall(r"useradd .*--uid (\d+)", (ROOT / "Dockerfile").read_text())
    assert one("StatefulSet")["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == int(uid)


# --- compose and systemd ----------------------------------------------------------------------------------------------

COMPOSE = {path: yaml.safe_load((ROOT / path).read_text()) for path in ("compose.yaml", "deploy/compose.yaml")}
ARKOSE = yaml.safe_load((DEPLOY / "compose.arkose.yaml").read_text())


@pytest.mark.parametrize("file", [*COMPOSE.values(), ARKOSE], ids=[*COMPOSE, "deploy/compose.arkose.yaml"])
def test_compose_files_name_settings_that_exist(file: dict) -> None:
    gateways = [service for name, service in file["services"].items() if name.startswith("gateway")]
    assert gateways
    for service in gateways:
        assert set(service["environment"]) <= SETTINGS


def test_the_arkose_slot_is_added_to_the_single_gateway() -> None:
    assert set(ARKOSE["services"]) == {"gateway", "arkose"}
    assert "gateway" in COMPOSE["compose.yaml"]["services"]
    assert "ports" not in ARKOSE["services"]["arkose"]
    assert ARKOSE["services"]["gateway"]["environment"]["ARKOSE_TOKEN_URL"].startswith("http://arkose:")


def test_the_balancer_forwards_no_metrics() -> None:
    (path,) = metrics.paths
    assert f"location = {path} {{ return 404; }}" in (DEPLOY / "nginx.conf").read_text()


def test_the_systemd_unit_is_one(tmp_path: Path) -> None:
    unit = (DEPLOY / "chat2api.service").read_text()
    (environment,) = re.findall(r"^Environment=(.*)$", unit, re.M)
    assert {word.partition("=")[0] for word in environment.split()} <= SETTINGS | {"PYTHONUNBUFFERED"}
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not here")
    # Where the program is installed is the operator's; what is looked at is the rest.
    placed = tmp_path / "chat2api.service"
    placed.write_text(unit.replace("/opt/chat2api/bin/chat2api", "/bin/true"))
    verified = subprocess.run([analyze, "verify", placed], capture_output=True, text=True, check=False, timeout=60)
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = subprocess.run(
        [analyze, "security", "--offline=true", placed], capture_output=True, text=True, check=False, timeout=60
    )
    if "Unknown" not in rated.stderr and "unrecognized" not in rated.stderr:
        level = re.search(r"exposure level for \S+: ([\d.]+)", rated.stdout)
        assert level is not None, rated.stdout + rated.stderr
        assert float(level[1]) < 2
