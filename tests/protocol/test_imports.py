"""The import rules of CONTRIBUTING.md and one of names, read off the source: the core does no I/O, dependencies point
one way, one name belongs to one class. Each test looks at every file it is about and names all that break the rule."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHIM = ROOT / "shim"
STANDIN = SHIM / "standin"
PRODUCT = ("shim", "pow", "arkose", "addons")

# What the core may use besides the rest of the project. An allow list: a new import is a decision, not an accident.
CORE_MAY_IMPORT = {
    "abc",
    "collections",
    "datetime",
    "enum",
    "functools",
    "itertools",
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
    {"errors", "chatgpt", "heap", "random_ids", "surrogates"},
    {"protocol"},
    {"logs", "tokenizer", "schemas", "settings", "single_flight", "background"},
    {"databases"},
    {"transport", "accounts", "notes", "keys"},
    {"cassettes", "files", "usage", "metrics"},
    {"exchange"},
    {"http"},
    {"apis"},
    {"app", "addons", "server", "cli", "__main__"},
)
RANKS = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports_of(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """Every module that `path` imports, wherever in it, by its full name; `from a import b` is `a.b`."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(filter(None, (base, node.module)))
            yield from ((f"{module}.{alias.name}", node) for alias in node.names)


def modules(*folders: str) -> list[Path]:
    """The files of these folders; it fails where one has none, as every test here would pass then."""
    found = [sorted((ROOT / folder).rglob("*.py")) for folder in folders]
    assert all(found), f"one of {folders} has no Python in it"
    return [path for paths in found for path in paths]


def core() -> list[Path]:
    return modules("shim/protocol")


def said(path: Path, what: object) -> str:
    return f"{path.relative_to(ROOT)}: {what}"


def layer_of(dotted: str) -> str | None:
    """The part of the project that a dotted name lies in, or None where it is not ours to order."""
    first, _, rest = dotted.partition(".")
    return rest.partition(".")[0] if first == "shim" else "addons" if first == "addons" else None


def test_the_core_imports_nothing_that_does_io() -> None:
    assert {"machine.py", "patch.py", "sse.py", "handshake.py"} <= {path.name for path in core()}
    guilty = []
    for path in core():
        names = [name for name, _ in imports_of(path)]
        guilty += [said(path, name) for name in names if name.partition(".")[0] not in CORE_MAY_IMPORT | {"shim"}]
        guilty += [said(path, name) for name in names if name.startswith("urllib.") and "urllib.parse." not in name]
    assert guilty == []


def test_the_core_takes_clock_ids_and_chance_as_arguments() -> None:
    guilty = []
    for path in core():
        called = {words_of(node.func) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call)}
        guilty += [said(path, name) for name in called & CLOCKS_AND_CHANCE]
    assert guilty == []


def test_the_core_has_no_coroutines() -> None:
    waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    nodes = [(path, node) for path in core() for node in ast.walk(tree_of(path)) if isinstance(node, waiting)]
    assert [said(path, node.lineno) for path, node in nodes] == []


def test_dependencies_point_one_way() -> None:
    guilty = []
    for path in modules("shim", "addons"):
        if STANDIN in path.parents or path.stem == "__init__":
            continue
        mine = layer_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
        assert mine in RANKS, f"{mine} has no place in LAYERS yet; CONTRIBUTING.md says what belongs where"
        for name, _ in imports_of(path):
            theirs = layer_of(name)
            if theirs not in RANKS or theirs == mine:  # not ours, or a name of shim/__init__.py itself
                continue
            if RANKS[theirs] > RANKS[mine] and (path, theirs) != (DESCRIBES_THE_APIS, "apis"):
                guilty.append(said(path, f"{mine} must not import {name}"))
    assert guilty == []


# The one that may: our own description of all APIs.
DESCRIBES_THE_APIS = SHIM / "http" / "openapi_document.py"


def apis_of(name: str) -> str | None:
    """The API that a dotted name lies in."""
    return name.split(".")[2] if name.startswith("shim.apis.") else None


def test_nobody_below_knows_an_api() -> None:
    """`protocol`, `exchange` and what they stand on are handed an API, and import none."""
    below = [path for path in modules("shim") if RANKS.get(path.relative_to(SHIM).parts[0], 99) < RANKS["apis"]]
    assert {"protocol", "exchange", "files", "http"} <= {path.relative_to(SHIM).parts[0] for path in below}
    guilty = [
        said(path, name)
        for path in below
        for name, _ in imports_of(path)
        if apis_of(name) is not None and path != DESCRIBES_THE_APIS
    ]
    assert guilty == []


def test_no_api_imports_another() -> None:
    folders = [folder for folder in sorted((SHIM / "apis").iterdir()) if (folder / "__init__.py").exists()]
    assert len(folders) > 1
    guilty = []
    for folder in folders:
        others = {other.name for other in folders} - {folder.name}
        for path in sorted(folder.rglob("*.py")):
            guilty += [said(path, name) for name, _ in imports_of(path) if apis_of(name) in others]
    assert guilty == []


def test_wire_structs_and_errors_know_nothing_of_the_core() -> None:
    guilty = []
    for path in (*modules("shim/chatgpt"), SHIM / "errors.py"):
        allowed = {"errors", path.parent.name, None} if path.parent != SHIM else {None}
        guilty += [said(path, name) for name, _ in imports_of(path) if layer_of(name) not in allowed]
    assert guilty == []


def test_pow_and_arkose_stand_alone() -> None:
    guilty = []
    for path in modules("pow", "arkose"):
        others = set(PRODUCT) - {path.relative_to(ROOT).parts[0]}
        guilty += [said(path, name) for name, _ in imports_of(path) if name.partition(".")[0] in others]
    assert guilty == []


def test_only_the_demo_knows_the_stand_in() -> None:
    paths = [path for path in modules("shim", "addons") if STANDIN not in path.parents]
    knowing = {path for path in paths for name, _ in imports_of(path) if layer_of(name) == "standin"}
    assert {path.name for path in knowing} <= {"demo.py", "doctor.py"}


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


def test_nothing_is_read_from_the_environment_at_import() -> None:
    paths = modules(*PRODUCT)
    read = [(path, words_of(node)) for path in paths for node in run_at_import(tree_of(path))]
    assert [said(path, name) for path, name in read if name in READS_SETTINGS] == []


def test_the_check_for_import_time_reads_can_fail() -> None:
    guilty = "import os\nPORT = os.environ['PORT']\ndef f(a=os.getenv('A')): return os.environ\n"
    found = [words_of(node) for node in run_at_import(ast.parse(guilty)) if words_of(node) in READS_SETTINGS]
    assert sorted(filter(None, found)) == ["environ", "getenv"]


def test_no_two_classes_share_a_name() -> None:
    """Those of the stand-in aside: it speaks of the same things, from the other end."""
    places = defaultdict(list)
    for path in modules(*PRODUCT):
        if STANDIN not in path.parents:
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(said(path, node.lineno))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}
