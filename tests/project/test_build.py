"""Wheels with the compiled solver and without: their tags, what is in them, and that both solve."""

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
COPIED = ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE", "CHANGELOG.md")
PACKAGES = ("shim", "pow", "arkose", "addons")
MODULE = "pow/_sha3.abi3.so"
PLATFORM = sysconfig.get_platform().replace("-", "_").replace(".", "_")

# Nobody's site-packages but ours; the wheel's own files come first.
USE = """
import sys
sys.path.insert(0, sys.argv[1])
import pow
from pow import Challenge, search, verify
assert pow.__file__.startswith(sys.argv[1]), pow.__file__
challenge = Challenge("0.42", "000fff")
assert verify(search(challenge, [0] * 13), challenge)
print(pow.LANES)
"""

# The module alone, without what else chat2api needs. Headers of a newer Python leave out what an older one counts on:
# those of 3.12 do not count references to None.
CALL = """
import hashlib, importlib.machinery, importlib.util, sys
loader = importlib.machinery.ExtensionFileLoader("_sha3", sys.argv[1])
module = importlib.util.module_from_spec(importlib.util.spec_from_loader("_sha3", loader))
loader.exec_module(module)
before = sys.getrefcount(None)
for counter in range(20_000):
    assert module.find(b"", b"[", b",0,", b"]", counter, counter + 1, bytes(64)) is None
assert abs(sys.getrefcount(None) - before) < 100
assert module.find(b"", b"[", b",0,", b"]", 7, 9, bytes([255]) * 64) == 7
assert module.digest(b"abc") == hashlib.sha3_512(b"abc").digest()
"""


def other_pythons() -> list[Path]:
    """An interpreter of each other version that this machine has, as scripts/python.sh finds them."""
    folders = [Path(folder) for folder in os.get_exec_path()]
    folders += Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions").glob("*/bin")
    found = {}
    for minor in range(11, 20):
        for python in (folder / f"python3.{minor}" for folder in folders):
            asked = "import sys; print(sys.version_info[1], sys.abiflags)"
            with contextlib.suppress(OSError):
                said = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=False).stdout
                if said.split() == [str(minor)] and minor != sys.version_info[1]:
                    found.setdefault(minor, python)
    return [*found.values()]


has_compiler = pytest.mark.skipif(
    not (shutil.which("cc") and Path(sysconfig.get_path("include"), "Python.h").exists()),
    reason="no C compiler, or no headers of this Python",
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built from, so that nobody's environment is touched."""
    folder = tmp_path_factory.mktemp("source")
    for name in COPIED:
        shutil.copy(PROJECT / name, folder)
    for name in PACKAGES:
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    return folder


def build(source: Path, out: Path, target: str = "wheel", **environment: str) -> tuple[Path, str]:
    """What was built, and what was said meanwhile."""
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)],
        cwd=source,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (made,) = out.iterdir()
    return made, built.stdout + built.stderr


def lanes_of(wheel: Path, folder: Path) -> int:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    used = subprocess.run(
        [sys.executable, "-P", "-c", USE, str(folder)], capture_output=True, text=True, check=False, cwd=folder
    )
    assert used.returncode == 0, used.stderr
    return int(used.stdout)


@has_compiler
def test_a_wheel_with_the_solver_is_for_this_platform_and_every_python(source, tmp_path):
    wheel, said = build(source, tmp_path / "out")
    assert wheel.name.endswith(f"-cp311-abi3-{PLATFORM}.whl")
    assert "without" not in said
    names = zipfile.ZipFile(wheel).namelist()
    assert MODULE in names
    assert not [name for name in names if name.endswith((".c", ".h"))]
    assert lanes_of(wheel, tmp_path / "unpacked") in {1, 4, 8}
    assert not list((source / "pow").glob("*.so")), "a wheel leaves nothing behind"


@has_compiler
def test_the_same_module_serves_every_python_there_is(source, tmp_path):
    pythons = other_pythons()
    if not pythons:
        pytest.skip("there is no other Python from 3.11 on")
    wheel, _ = build(source, tmp_path / "out")
    with zipfile.ZipFile(wheel) as archive:
        module = archive.extract(MODULE, tmp_path)
    for python in pythons:
        called = subprocess.run([python, "-c", CALL, module], capture_output=True, text=True, check=False)
        assert (called.returncode, called.stderr) == (0, ""), python


def test_the_same_source_gives_the_same_wheel(source: Path, tmp_path: Path) -> None:
    """Wherever it lies, and whenever it is built."""
    elsewhere = shutil.copytree(source, tmp_path / "a folder with another name")
    first, _ = build(source, tmp_path / "first", SOURCE_DATE_EPOCH="1700000000")
    for path in elsewhere.rglob("*"):
        os.utime(path)
    second, _ = build(elsewhere, tmp_path / "second", SOURCE_DATE_EPOCH="1700000000")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("compiler", ["/nowhere/cc", "false"], ids=["missing", "failing"])
def test_without_a_compiler_the_build_goes_on_and_says_so(source, tmp_path, compiler):
    wheel, said = build(source, tmp_path / "out", CC=compiler)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "chat2api: built without the compiled proof-of-work solver" in said
    assert MODULE not in zipfile.ZipFile(wheel).namelist()
    assert lanes_of(wheel, tmp_path / "unpacked") == 0


@has_compiler
def test_what_the_source_distribution_holds_is_enough_for_the_solver(source, tmp_path):
    archive, _ = build(source, tmp_path / "out", "sdist")
    shutil.unpack_archive(archive, tmp_path, filter="data")
    wheel, _ = build(tmp_path / archive.name.removesuffix(".tar.gz"), tmp_path / "wheel")
    assert lanes_of(wheel, tmp_path / "unpacked") in {1, 4, 8}


@has_compiler
def test_an_editable_install_compiles_in_place_and_only_what_has_changed(source, tmp_path):
    tree = shutil.copytree(source, tmp_path / "tree")
    with (tree / "pyproject.toml").open("a") as pyproject:  # which spares it a package that only pip would fetch
        pyproject.write('[tool.hatch.build]\ndev-mode-dirs = ["."]\n')
    code = "import hatchling.build, sys; hatchling.build.build_editable(sys.argv[1])"

    def install() -> None:
        (tmp_path / "out").mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "out")], cwd=tree, check=True, capture_output=True)

    install()
    module = tree / MODULE
    first = module.stat()
    install()
    assert module.stat().st_ino == first.st_ino
    os.utime(tree / "pow/_sha3_lanes.h", (first.st_mtime + 5, first.st_mtime + 5))
    install()
    assert module.stat().st_ino != first.st_ino
    assert sorted(path.name for path in (tree / "pow").glob("_sha3*")) == sorted(
        ["_sha3.abi3.so", "_sha3.c", "_sha3.pyi", "_sha3_lanes.h"]
    )
