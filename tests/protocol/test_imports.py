"""The import rules of CONTRIBUTING.md, read off the source: the core does no I/O, dependencies point one way."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIM = ROOT / "shim"
CORE = sorted((SHIM / "protocol").rglob("*.py"))

# What the core may use besides the rest of the project. An allow list: a new import is a decision, not an accident.
CORE_MAY_IMPORT = {
    "abc",
    "collections",
    "datetime",
    "enum",
    "json",
    "math",
    "re",
    "string",
    "typing",
    "urllib",
    "msgspec",
    "pow",
}
CLOCKS_AND_CHANCE = {"now", "utcnow", "today", "uuid1", "uuid4", "urandom", "token_hex", "open", "getenv", "environ"}

# Each layer sees those before it. A new module has to be given its place here.
LAYERS = (
    {"errors", "chatgpt"},
    {"protocol"},
    {"tokenizer", "schemas", "settings", "single_flight"},
    {"databases"},
    {"transport", "accounts", "notes"},
    {"cassettes", "files"},
    {"exchange"},
    {"http"},
    {"apis"},
    {"app", "addons", "server", "cli", "__main__"},
)
RANKS = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


def imports_of(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """Every module that `path` imports, wherever in it, by its full name; `from a import b` is `a.b`."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield from ((f"{module}.{alias.name}", node) for alias in node.names)


def modules(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def named(paths: list[Path]) -> list[object]:
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in paths]


def layer_of(dotted: str) -> str | None:
    """The part of the project that a dotted name lies in, or None where it is not ours to order."""
    first, _, rest = dotted.partition(".")
    return rest.partition(".")[0] if first == "shim" else "addons" if first == "addons" else None


def test_there_is_a_core_to_look_at() -> None:
    assert {"machine.py", "patch.py", "sse.py", "handshake.py"} <= {path.name for path in CORE}


@pytest.mark.parametrize("path", named(CORE))
def test_the_core_imports_nothing_that_does_io(path: Path) -> None:
    names = [name for name, _ in imports_of(path)]
    assert {name.partition(".")[0] for name in names} - {"shim"} <= CORE_MAY_IMPORT
    assert not [name for name in names if name.startswith("urllib.") and not name.startswith("urllib.parse.")]


@pytest.mark.parametrize("path", named(CORE))
def test_the_core_takes_clock_ids_and_chance_as_arguments(path: Path) -> None:
    tree = ast.parse(path.read_text())
    called = {
        node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name)
    }
    assert not called & CLOCKS_AND_CHANCE


@pytest.mark.parametrize("path", named(CORE))
def test_the_core_has_no_coroutines(path: Path) -> None:
    waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    assert not [node.lineno for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, waiting)]


@pytest.mark.parametrize(
    "path",
    named([path for path in modules("shim", "addons") if "standin" not in path.parts and path.stem != "__init__"]),
)
def test_dependencies_point_one_way(path: Path) -> None:
    mine = layer_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    assert mine in RANKS, f"{mine} has no place in LAYERS yet; CONTRIBUTING.md says what belongs where"
    for name, node in imports_of(path):
        theirs = layer_of(name)
        if theirs is None or theirs == mine or theirs in {"__init__", "standin"}:
            continue
        if path.stem == "openapi_document" and theirs == "apis":  # which it describes
            continue
        known = theirs in RANKS  # else a name from shim/__init__.py itself
        assert not known or RANKS[theirs] <= RANKS[mine], f"line {node.lineno}: {mine} must not import {name}"


@pytest.mark.parametrize("path", named([*modules("shim/chatgpt"), SHIM / "errors.py"]))
def test_wire_structs_and_errors_know_nothing_of_the_core(path: Path) -> None:
    ours = {layer_of(name) for name, _ in imports_of(path)} - {None}
    allowed = {"errors", path.parent.name} if path.parent != SHIM else set()
    assert ours <= allowed


@pytest.mark.parametrize("path", named(modules("pow", "arkose")))
def test_pow_and_arkose_stand_alone(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0]
    ours = {name.partition(".")[0] for name, _ in imports_of(path)} & {"shim", "addons", "pow", "arkose"}
    assert ours <= {own}


@pytest.mark.parametrize(
    "path",
    named([path for path in modules("shim", "addons") if not {"standin", "demo.py", "doctor.py"} & set(path.parts)]),
)
def test_only_the_demo_knows_the_stand_in(path: Path) -> None:
    assert not [name for name, _ in imports_of(path) if layer_of(name) == "standin"] or path.stem in {"cli", "__main__"}


def run_at_import(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that are evaluated when the module is imported: all but the insides of functions."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        defaults = [*node.args.defaults, *(default for default in node.args.kw_defaults if default)]
        for outside in (*defaults, *getattr(node, "decorator_list", ())):
            yield from run_at_import(outside)
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from run_at_import(child)


def words_of(node: ast.AST) -> str | None:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None


READS_SETTINGS = {"environ", "environb", "getenv", "getenvb", "load_dotenv", "dotenv_values", "load_settings"}


@pytest.mark.parametrize("path", named(modules("shim", "pow", "arkose", "addons")))
def test_nothing_is_read_from_the_environment_at_import(path: Path) -> None:
    nodes = run_at_import(ast.parse(path.read_text()))
    assert not [node for node in nodes if words_of(node) in READS_SETTINGS]


def test_the_check_for_import_time_reads_can_fail() -> None:
    guilty = "import os\nPORT = os.environ['PORT']\ndef f(a=os.getenv('A')): return os.environ\n"
    found = [words_of(node) for node in run_at_import(ast.parse(guilty)) if words_of(node) in READS_SETTINGS]
    assert sorted(filter(None, found)) == ["environ", "getenv"]
