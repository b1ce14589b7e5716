"""`legible demo`: the main job on embedded defaults."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import note


def demo(
    out: Annotated[Path, typer.Option(help="Where the HTML report goes.")] = Path("demo-report.html"),
    seed: Annotated[int, typer.Option(help="Seed of the story, held out from training.")] = 0,
) -> None:
    """Read a story with the built-in target, verbalizer and reconstructor.

    Prints a table (token, explanation, score, flags) and writes a self-contained HTML report. The story comes from
    the built-in world's held-out split, so every claim is checked against what the story really says.

    \b
      legible demo
      legible demo --seed 3 --out story-3.html
    """
    from legible.reading.html import write_reading
    from legible.reading.table import print_table
    from legible.recipes.demo import read_story

    note("loading the built-in pair ...")
    document, readings, about = read_story(seed)
    print_table(readings)
    write_reading(out, document.text, readings, about)
    typer.echo(f"report: {out.resolve()}")
