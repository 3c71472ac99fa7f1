"""Compiles the optional proof-of-work solver (pow/_sha3.c) into what hatchling builds.

Rule: it may fail. Without a compiler, or without Python's headers, the build says so and goes on; proofs are then
solved in Python, and `chat2api doctor` tells.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MODULE = "pow/_sha3.abi3.so"
SOURCES = ("pow/_sha3.c", "pow/_sha3_lanes.h")
OLDEST_PYTHON = "cp311"  # Py_LIMITED_API in pow/_sha3.c


class CompileSolver(BuildHookInterface[Any]):
    """Adds the module to a wheel; leaves it in the source tree for an editable install, which imports from there."""

    _folder: "tempfile.TemporaryDirectory[str] | None" = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a wheel is made; `version` is "standard" or "editable"."""
        root = Path(self.root)
        if version == "editable" and _is_newer(root / MODULE, [root / source for source in SOURCES]):
            return
        self._folder = tempfile.TemporaryDirectory(prefix="chat2api-build-")
        built = Path(self._folder.name, "module.so")
        if complaint := _compile(root / SOURCES[0], built):
            self.app.display_warning(f"chat2api: built without the compiled proof-of-work solver: {complaint}")
        elif version == "editable":
            # In one step, because a process that has the old one loaded must keep it.
            beside = Path(shutil.copy(built, root / f"{MODULE}.{os.getpid()}"))
            beside.replace(root / MODULE)
        else:
            build_data["force_include"][str(built)] = MODULE
            build_data["pure_python"] = False
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"{OLDEST_PYTHON}-abi3-{platform}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called when the wheel is made."""
        if self._folder is not None:
            self._folder.cleanup()


def _is_newer(module: Path, sources: list[Path]) -> bool:
    return module.exists() and module.stat().st_mtime > max(source.stat().st_mtime for source in sources)


def _compile(source: Path, module: Path) -> str | None:
    """Compile and link; returns why it could not be done."""
    if sys.implementation.name != "cpython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "this Python has no stable ABI"
    # How this Python links its own modules: "gcc -shared", or on macOS "clang -bundle -undefined dynamic_lookup". The
    # compiler it was built with need not be here, so CC and then any other come into question.
    builder, *link = shlex.split(sysconfig.get_config_var("LDSHARED") or "cc -shared")
    wanted = os.environ.get("CC")
    compiler = shlex.split(wanted) if wanted else [next(filter(shutil.which, (builder, "cc", "gcc", "clang")), "")]
    flags = ["-O3", "-std=c11", "-fPIC", "-pthread", "-fvisibility=hidden", f"-I{sysconfig.get_path('include')}"]
    try:
        command = [*compiler, *link, *flags, str(source), "-o", str(module)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  the builder's own compiler
    except OSError as error:
        return f"no C compiler ({error.strerror}: {compiler[0] or 'cc'})"
    if ran.returncode:
        return next((line for line in ran.stderr.splitlines() if "error" in line), f"{compiler[0]} failed")
    return None
