"""Write docs/cli.md from the program's own help; with --check, fail when it is stale."""

import sys
from itertools import groupby
from pathlib import Path

import typer

from legible.cli.main import app

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
HEAD = """# Command-line reference

Written by `make docs` from the program's own help. Exit codes: 0 done, 1 the work failed, 2 bad usage, 130 interrupted.
The answer goes to stdout (with `--json` nothing else), progress and errors to stderr.
"""
WIDTH = 100


def reference() -> str:
    """The whole page."""
    root = typer.main.get_command(app)
    context = root.make_context("legible", ["--help"], resilient_parsing=True, terminal_width=WIDTH, color=False)
    sections = [HEAD, _section("legible", root.get_help(context), 2)]
    verbs = [root.get_command(context, name) for name in root.list_commands(context)]  # type: ignore[attr-defined]
    for panel, of_panel in groupby(verbs, key=lambda verb: str(verb.rich_help_panel)):
        sections.append(f"## {panel}\n")
        for verb in of_panel:
            sections += _commands(verb, context, f"legible {verb.name}")
    return "\n".join(sections)


def _commands(command: object, parent: typer.Context, path: str) -> list[str]:
    context = command.context_class(  # type: ignore[attr-defined]
        command, info_name=path.split()[-1], parent=parent, terminal_width=WIDTH, color=False
    )
    found = [_section(path, command.get_help(context), 3)]  # type: ignore[attr-defined]
    for name in getattr(command, "commands", {}):
        found += _commands(command.commands[name], context, f"{path} {name}")  # type: ignore[attr-defined]
    return found


def _section(path: str, text: str, level: int) -> str:
    lines = "\n".join(line.rstrip() for line in text.strip().splitlines())
    return f"{'#' * level} {path}\n\n```text\n{lines}\n```\n"


def main() -> None:
    """Write the page, or compare it."""
    page = reference()
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
            sys.exit(f"{PAGE.name} is stale: run `make docs` and commit it")
        return
    PAGE.write_text(page, encoding="utf-8")
    print(PAGE)


if __name__ == "__main__":
    main()
