"""Figures that are read off the source of a checkout: lines, functions, helpers, classes, imports."""

import ast
import io
import statistics
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("shim", "pow", "arkose", "addons")
STANDIN = "shim/standin"

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = ast.Module | ast.ClassDef | Function


@dataclass
class Module:
    """One file: its path below the checkout, its text and its tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def name(self) -> str:
        """As it is imported: `shim.app`, and `shim` for its `__init__`."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@dataclass
class Lines:
    """Every physical line is one of the first four; `trailing` counts comments that follow code."""

    code: int = 0
    comments: int = 0
    docstrings: int = 0
    blank: int = 0
    trailing: int = 0

    @property
    def all(self) -> int:
        """Physical lines."""
        return self.code + self.comments + self.docstrings + self.blank

    def add(self, other: "Lines") -> None:
        """Count another file's lines in."""
        self.code += other.code
        self.comments += other.comments
        self.docstrings += other.docstrings
        self.blank += other.blank
        self.trailing += other.trailing


def modules(root: Path, *folders: str, leave_out: tuple[str, ...] = ()) -> list[Module]:
    """The Python files below some folders of a checkout; a folder that isn't there holds none."""
    found = []
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            if not name.startswith(tuple(f"{left}/" for left in leave_out)):
                text = path.read_text()
                found.append(Module(name, text, ast.parse(text, name)))
    return found


def lines_of(module: Module) -> Lines:
    """A module's lines by kind."""
    docstrings: set[int] = set()
    for node in ast.walk(module.tree):
        # A docstring is an expression that is the first statement of what it describes.
        if isinstance(node, Documented) and ast.get_docstring(node, clean=False) is not None:
            docstrings.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = Lines()
    comments = set()
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type == tokenize.COMMENT:
            if token.line.strip().startswith("#"):
                comments.add(token.start[0])
            else:
                lines.trailing += 1
    for number, line in enumerate(module.text.splitlines(), 1):
        if number in docstrings:
            lines.docstrings += 1
        elif number in comments:
            lines.comments += 1
        elif line.strip():
            lines.code += 1
        else:
            lines.blank += 1
    return lines


def functions_of(module: Module) -> Iterator[tuple[str, Function]]:
    """Every function and method with its name below the module: `Class.method`."""

    def below(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | Function):
                if not isinstance(child, ast.ClassDef):
                    yield f"{prefix}{child.name}", child
                yield from below(child, f"{prefix}{child.name}.")
            else:
                yield from below(child, prefix)

    return below(module.tree, "")


def length_of(function: Function) -> int:
    """Physical lines, without decorators."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


@dataclass
class Helper:
    """How often a private function is named outside its own definition: called, and handed on as a value."""

    calls: int = 0
    values: int = 0

    @property
    def uses(self) -> int:
        """Of either kind."""
        return self.calls + self.values


def private_helpers(found: list[Module]) -> dict[str, Helper]:
    """The uses of each private function and method.

    A name is looked for in its own file, and in others where they import it; so a method that a base class in another
    file calls looks unused. Two helpers of one name in one file can't be told apart and share their uses evenly.

    Handed on is what stands in a table, is a callback, a task's body, or a method that an abstract class leaves to
    others: it has its name for whoever runs it later, and could not stand where it is named.
    """
    promised = {
        function.name for module in found for _, function in functions_of(module) if is_decorated(function, "abstract")
    }
    abroad: Counter[str] = Counter()
    for module in found:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom):
                abroad.update(alias.name for alias in node.names)
    helpers = {}
    for module in found:
        names = [(name, function) for name, function in functions_of(module) if is_private(function.name)]
        twins = Counter(function.name for _, function in names)
        called, named = mentions(module, {function.name: function for _, function in names})
        for name, function in names:
            calls = called[function.name] // twins[function.name] + abroad[function.name]
            values = named[function.name] // twins[function.name]
            is_left = "." in name and function.name in promised
            helpers[f"{module.path}:{name}"] = Helper(0, calls + values) if is_left else Helper(calls, values)
    return helpers


def mentions(module: Module, functions: dict[str, Function]) -> tuple[Counter[str], Counter[str]]:
    """How often each name is called in a module, and how often it is mentioned otherwise. To read a property calls it,
    and so does a decorator; a call in a lambda is for later, and so is one of a coroutine that isn't awaited there."""
    calls, awaited, later = set[ast.AST](), set[ast.AST](), set[ast.AST]()
    for node in ast.walk(module.tree):
        match node:
            case ast.Call():
                calls.add(node.func)
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                calls.update(node.decorator_list)
            case ast.Await(value=ast.Call(func=func)):
                awaited.add(func)
            case ast.Lambda():
                later.update(ast.walk(node))
    called: Counter[str] = Counter()
    named: Counter[str] = Counter()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Name | ast.Attribute):
            name = node.id if isinstance(node, ast.Name) else node.attr
            function = functions.get(name)
            runs = node in calls or (function is not None and is_decorated(function, "property", "setter"))
            waits = function is not None and is_coroutine(function) and node not in awaited
            (called if runs and not waits and node not in later else named)[name] += 1
    return called, named


def is_decorated(function: Function, *words: str) -> bool:
    """Whether one of the words is in one of its decorators: `@cached_property`, `@name.setter`, `@abstractmethod`."""
    return any(word in ast.dump(decorator) for decorator in function.decorator_list for word in words)


def is_coroutine(function: Function) -> bool:
    """One that runs when it is awaited: neither a generator, nor made something else by a decorator."""
    yields = any(isinstance(node, ast.Yield | ast.YieldFrom) for node in ast.walk(function))
    return isinstance(function, ast.AsyncFunctionDef) and not yields and not function.decorator_list


def is_private(name: str) -> bool:
    """`_name`, but not `__init__`."""
    return name.startswith("_") and not name.endswith("__")


def attributes_of(cls: ast.ClassDef) -> set[str]:
    """What the methods of a class set on `self`."""
    found = set()
    for method in cls.body:
        if not isinstance(method, Function) or not method.args.args:
            continue
        me = method.args.args[0].arg
        for node in ast.walk(method):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and isinstance(node.value, ast.Name)
                and node.value.id == me
            ):
                found.add(node.attr)
    return found


def imports_of(module: Module, known: set[str]) -> set[str]:
    """The modules of ours that a module imports, wherever in it; `from package import module` is that module."""
    package = module.name.split(".")
    if not module.path.endswith("/__init__.py"):
        package = package[:-1]
    names: set[str] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *filter(None, [node.module])])
            names.update(f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names)
    return {name for name in names if name in known} - {module.name}


def p90(values: list[int]) -> int:
    """The value that nine of ten do not exceed."""
    return sorted(values)[max(0, -(-9 * len(values) // 10) - 1)]


def survey(root: Path) -> dict[str, object]:
    """All figures of a checkout's source."""
    ours = modules(root, *PACKAGES, leave_out=(STANDIN,))
    parts = {
        "product": ours,
        "stand-in": modules(root, STANDIN),
        "scripts": modules(root, "scripts"),
        "tests": modules(root, "tests"),
    }
    figures: dict[str, object] = {}
    for part, found in parts.items():
        total = Lines()
        for module in found:
            total.add(lines_of(module))
        figures[f"{part}: modules"] = len(found)
        figures[f"{part}: lines"] = total.all
        figures[f"{part}: lines of code"] = total.code
        figures[f"{part}: lines of docstrings"] = total.docstrings
        figures[f"{part}: lines of comments"] = total.comments
        if total.all:
            figures[f"{part}: comment lines, %"] = round(100 * total.comments / total.all, 1)
            figures[f"{part}: lines with a comment, %"] = round(100 * (total.comments + total.trailing) / total.all, 1)
    everything = private_helpers([*ours, *parts["stand-in"], *parts["scripts"]])
    figures["private helpers used once, stand-in and scripts too, %"] = _used(everything, 1)
    figures |= {**_of_functions(ours), **_of_classes(ours)}
    known = {module.name for module in [*ours, *parts["stand-in"]]}
    counts = {module.path: len(imports_of(module, known)) for module in ours}
    inner = {path: count for path, count in counts.items() if path.startswith("shim/exchange/")}
    for where, of in (("exchange", inner), ("product", counts)):
        # An older checkout has no such room.
        if of:
            most = max(of, key=lambda path: of[path])
            figures[f"imports of ours per module, {where}: median"] = statistics.median(of.values())
            figures[f"imports of ours per module, {where}: most"] = of[most]
            figures[f"imports of ours per module, {where}: whose"] = most
    return figures


def _of_functions(ours: list[Module]) -> dict[str, object]:
    lengths = {f"{module.path}:{name}": length_of(it) for module in ours for name, it in functions_of(module)}
    if not lengths:
        return {}
    helpers = private_helpers(ours)
    called = {name: helper for name, helper in helpers.items() if helper.calls}
    longest = sorted(lengths, key=lambda name: -lengths[name])[:5]
    return {
        "functions": len(lengths),
        "functions: median lines": statistics.median(lengths.values()),
        "functions: p90 lines": p90(list(lengths.values())),
        "functions: longest": [f"{lengths[name]} {name}" for name in longest],
        "private helpers": len(helpers),
        "private helpers, % of functions": round(100 * len(helpers) / len(lengths), 1),
        # All that are named once; and, of those that are called, the ones whose one use is the call.
        "private helpers used once, %": _used(helpers, 1),
        "private helpers called, not handed on": len(called),
        "private helpers called once, % of those": _used(called, 1),
        "private helpers used never, %": _used(helpers, 0),
        "private helpers used never": sorted(name for name, helper in helpers.items() if not helper.uses)[:5],
    }


def _used(helpers: dict[str, Helper], times: int) -> float:
    """The share of those that are used that often, in percent."""
    return round(100 * sum(helper.uses == times for helper in helpers.values()) / max(1, len(helpers)), 1)


def _of_classes(ours: list[Module]) -> dict[str, object]:
    places: defaultdict[str, list[str]] = defaultdict(list)
    attributes = {}
    for module in ours:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module.path)
                attributes[f"{module.path}:{node.name}"] = len(attributes_of(node))
    shared = sorted(name for name, paths in places.items() if len(paths) > 1)
    largest = sorted(attributes, key=lambda name: -attributes[name])[:5]
    return {
        "classes": sum(map(len, places.values())),
        "classes: names that several share": len(shared),
        "classes: shared names": shared,
        "classes: most attributes": max(attributes.values(), default=0),
        "classes: those with most attributes": [f"{attributes[name]} {name}" for name in largest],
    }
