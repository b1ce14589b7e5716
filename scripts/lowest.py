"""Print constraints that hold every requirement of pyproject.toml to its lowest version, for `make test-lowest`.

torch is left out: CPU builds of its lowest version are to be had from torch's own index alone, see docs/install.md.
"""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent


def lowest(lines: list[str]) -> list[str]:
    """One `name==version` for each requirement that has a floor.

    Example:
        >>> lowest(["torch>=2.9", "numpy>=2,<3", "types-PyYAML"])
        ['numpy==2']
    """
    held = []
    for requirement in map(Requirement, lines):
        floors = [each.version for each in requirement.specifier if each.operator == ">="]
        if floors and requirement.name != "torch":
            held.append(f"{requirement.name}=={floors[0]}")
    return held


def main() -> None:
    """Print them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    print("\n".join(lowest([*project["dependencies"], *project["optional-dependencies"]["gguf"]])))


if __name__ == "__main__":
    main()
