"""The shape of the code: `models` never knows `streamer`, no import cycle, no overgrown file."""

from __future__ import annotations

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("models", "streamer")
MAX_LINES = 400


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}


def imports(module: str) -> set[str]:
    """The modules of ours that `module` imports, inside functions too: a late import only hides a cycle."""
    path = FILES[module]
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")
                base = ".".join([*parents[: len(parents) - node.level + 1], *filter(None, [base])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                names.add(inner if inner in FILES else base)
    return names & FILES.keys() - {module}


def test_the_graph_is_read() -> None:
    assert {"streamer.local.process"} <= imports("streamer.local.kafka")
    assert len(FILES) > 10


def test_models_never_imports_streamer() -> None:
    offenders = {
        module: bad
        for module in FILES
        if module.split(".")[0] == "models"
        and (bad := {name for name in imports(module) if name.split(".")[0] == "streamer"})
    }
    assert not offenders


def test_no_import_cycle() -> None:
    try:
        graphlib.TopologicalSorter({module: imports(module) for module in FILES}).prepare()
    except graphlib.CycleError as error:
        pytest.fail("import cycle: " + " <- ".join(error.args[1]))


def test_no_file_is_overgrown() -> None:
    lengths = {module: len(path.read_text().splitlines()) for module, path in FILES.items()}
    assert {module: lines for module, lines in lengths.items() if lines > MAX_LINES} == {}
