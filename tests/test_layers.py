"""The layout is the architecture: a level imports only from the levels above it in this list."""

import ast
from pathlib import Path

import pytest

import legible

ROOT = Path(legible.__file__).parent
LEVELS: tuple[tuple[str, ...], ...] = (
    ("errors", "fileio", "documents", "vectors", "stats", "display", "progress", "page"),
    ("config", "injection", "prompts", "contract"),
    ("truth.claims",),  # pure types, which the world implements
    ("world",),
    ("models",),
    ("engines",),
    ("data",),
    ("truth",),
    ("teachers",),
    ("instruments",),
    ("train",),
    ("evaluate",),
    ("analysis",),
    ("recipes",),
    ("serve",),
    ("cli",),
)
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names}


def level_of(module: str) -> int | None:
    """The level of a dotted module below `legible`; None for `legible` itself."""
    parts = module.split(".")
    for size in (2, 1):
        if ".".join(parts[:size]) in LEVEL_OF:
            return LEVEL_OF[".".join(parts[:size])]
    return None


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
    assert own is not None, f"{module} has no level: add it to LEVELS"
    upward = [
        f"line {line}: {name}" for line, name in imports(path) if (level := level_of(name)) is not None and level > own
    ]
    assert not upward, f"{module} imports from a level below it: {upward}"


def test_no_relative_imports_hide_a_level() -> None:
    hidden = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]
    assert hidden == []
