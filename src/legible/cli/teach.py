"""`legible teach`: the warm-start text for the rows of a store."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import answer
from legible.cli.options import placed, section_options
from legible.config import Placement, TeachConfig
from legible.progress import line_progress


@section_options(TeachConfig)
@placed
def teach(
    place: Placement,
    config: TeachConfig,
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Store whose rows are explained.")],
    out: Annotated[Path, typer.Option(help="File of explanations, one JSON object per row.")],
    layer: Annotated[int | None, typer.Option(help="Layer that probes read, for --limit probes.")] = None,
    threads: Annotated[int, typer.Option(help="Torch threads.")] = 2,
    json: Annotated[
        bool, typer.Option("--json", help="The counts as one JSON object on stdout, nothing else.")
    ] = False,
) -> None:
    """Let a teacher write an explanation for every row of STORE.

    world and text write from facts that are known to be true and need nothing else. Endpoints are queried
    concurrently, with retries; every answer is cached, so no question is sent twice. Refusals are counted. With
    --limit probes the teacher may only say what probes find in the activation at --layer.

    \b
      legible teach stores/train --teacher world --limit probes --layer 2 --out teach/train.jsonl
      legible teach stores/mine --teacher text --out teach/mine.jsonl
      OPENAI_API_KEY=... legible teach stores/mine --teacher openai:MODEL@https://HOST/v1 --out teach/mine.jsonl
    """
    from legible.recipes.inputs import open_store, use_threads
    from legible.recipes.stages.rows import Teach

    use_threads(threads)
    counts = Teach(open_store(store), config, layer, place=place).run(out, line_progress("teach"))
    answer({"teach": str(out), **counts}, "  ".join(f"{key} {value}" for key, value in counts.items()), json=json)
