"""The house rules as tests: rows, cycles, absolute imports, torch-free rooms, and sizes."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "osler"
FILES = sorted(SOURCE.rglob("*.py"))

ROWS = {
    "__main__": 10,
    "cli": 9,
    "serve": 8,
    "adapters": 8,
    "demo": 8,
    "treat": 7,
    "study": 6,
    "export": 6,
    "evaluate": 5,
    "checkup": 5,
    "explain": 5,
    "init": 5,
    "balance": 5,
    "look": 5,
    "audit": 5,
    "prepare": 5,
    "train": 4,
    "tasks": 3,
    "data": 2,
    "models": 2,
    "losses": 2,
    "doctor": 2,
    "predict": 2,
    "imaging": 1,
    "metrics": 1,
    "runs": 1,
    "report": 1,
    "config": 0,
    "files": 0,
    "errors": -1,  # under everything: configuration and files raise them too
}
LONGEST_FUNCTION = 60
LONGEST_P90 = 35
LONGEST_MODULE = 400


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "osler"


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[str]:
    """Modules of Osler that a file imports anywhere, inside functions and TYPE_CHECKING blocks too."""
    modules = {module_name(other) for other in FILES}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            if node.module and node.module.split(".")[0] == "osler":
                for alias in node.names:
                    name = f"{node.module}.{alias.name}"
                    yield name if name in modules else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "osler")


GRAPH = {module_name(path): sorted(set(imports_of(path))) for path in FILES}


def test_every_room_has_a_row() -> None:
    assert {room_of(module) for module in GRAPH} - {"osler"} <= ROWS.keys()


@pytest.mark.parametrize("module", [module for module in GRAPH if module != "osler"])
def test_a_room_imports_only_lower_rows(module: str) -> None:
    room = room_of(module)
    for imported in GRAPH[module]:
        other = room_of(imported)
        if other == "osler":  # the package itself: its version, no more
            continue
        assert other == room or ROWS[other] < ROWS[room], f"{module} (row {ROWS[room]}) imports {imported} (row {ROWS[other]})"


def test_no_import_cycles() -> None:
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, "cycle: " + " -> ".join((*trail[trail.index(module) :], module))
        if module not in done:
            for imported in GRAPH.get(module, ()):
                visit(imported, (*trail, module))
            done.add(module)

    for module in GRAPH:
        visit(module, ())


def test_there_is_no_utils() -> None:
    assert not [path for path in FILES if "util" in path.stem or path.stem in ("common", "helpers", "misc")]


def loaded_by(code: str) -> set[str]:
    """Top-level packages, and dotted modules, that a fresh process has loaded after running the code."""
    script = f"{code}\nimport sys, json\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


TORCH_FREE = ["osler", "osler.cli"] + [
    module
    for module in GRAPH
    if room_of(module) in ("config", "errors", "files", "imaging", "metrics", "runs", "report", "doctor", "predict", "serve")
]


def test_torch_stays_out() -> None:
    loaded = loaded_by("\n".join(f"import {module}" for module in TORCH_FREE))
    assert "torch" not in loaded


def test_help_is_light() -> None:
    loaded = loaded_by("import osler.cli\ntry:\n    osler.cli.main(['--help'])\nexcept SystemExit:\n    pass")
    assert not loaded & {"torch", "pandas", "matplotlib", "scipy.stats", "timm"}


def functions_of(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            yield f"{path.name}:{node.name}", node.end_lineno - node.lineno + 1


def test_functions_fit_a_screen() -> None:
    sizes = sorted((lines, name) for path in FILES for name, lines in functions_of(path))
    too_long = [f"{name}: {lines} lines" for lines, name in sizes if lines > LONGEST_FUNCTION]
    assert not too_long
    assert sizes[int(0.9 * (len(sizes) - 1))][0] <= LONGEST_P90


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_modules_are_short(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_MODULE, f"{path}: {lines} lines"
