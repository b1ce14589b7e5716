"""The layout is the architecture: a room imports only from the rooms above it in the table of docs/architecture.md."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import legible

ROOT = Path(legible.__file__).parent
TABLE = Path(__file__).parents[1] / "docs" / "architecture.md"


def levels(page: str) -> list[list[str]]:
    """The rooms of the table in `docs/architecture.md`, one list a line, from the ground up."""
    lines = page.split("| room |")[1].splitlines()[2:]
    return [re.findall(r"`([\w.]+)`", line.split("|")[1]) for line in lines if line.startswith("| `")]


LEVELS = levels(TABLE.read_text(encoding="utf-8"))
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names}


def level_of(module: str) -> int | None:
    """The level of a dotted module below `legible`; None for `legible` itself."""
    return LEVEL_OF.get(module.split(".")[0])


def imports(path: Path) -> list[tuple[int, str]]:
    """(line, module below legible) of every import of ours, those for type checkers left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "legible":
            names = [f"legible.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [node.module]
        else:
            continue
        found += [(node.lineno, name.removeprefix("legible.")) for name in names if name.startswith("legible.")]
    return found


FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_imports_upwards(path: Path) -> None:
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    own = level_of(module)
    assert own is not None, f"{module} has no room: add it to the table of docs/architecture.md"
    upward = [
        f"line {line}: {name}" for line, name in imports(path) if (level := level_of(name)) is not None and level > own
    ]
    assert not upward, f"{module} imports from a room below it: {upward}"


def test_no_relative_imports_hide_a_level() -> None:
    hidden = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]
    assert hidden == []


def test_reading_loads_nothing_of_what_trains_evaluates_or_serves() -> None:
    modules = ", ".join(f"legible.reading.{path.stem}" for path in sorted((ROOT / "reading").glob("[!_]*.py")))
    code = f"import sys, legible.reading, {modules}; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    rooms = {name.split(".")[1] for name in loaded if name.startswith("legible.")}
    assert not rooms & {"teachers", "train", "archive", "evaluate", "steer", "recipes", "planted", "serve", "cli"}
    assert "reading" in rooms
