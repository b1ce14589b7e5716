"""`legible capture`: a target's activations on documents, into a store."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import not_negative, print_json
from legible.cli.options import section_options
from legible.config import CaptureConfig
from legible.progress import line_progress


@section_options(CaptureConfig)
def capture(
    config: CaptureConfig,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Directory or hub name of a causal LM.")],
    out: Annotated[Path, typer.Option(help="Folder of the store.")],
    corpus: Annotated[
        str | None,
        typer.Option(help="Documents: .jsonl, .json (field text) or .txt, also .gz.  [default: the world's stories]"),
    ] = None,
    split: Annotated[
        str, typer.Option(metavar="train|dev|test", help="Which documents: splits are by document.")
    ] = "train",
    documents: Annotated[int, typer.Option(help="At most this many documents.")] = 3000,
    revision: Annotated[str | None, typer.Option(help="Hub revision of the target.")] = None,
    trust_remote_code: Annotated[bool, typer.Option(help="Run model code from the target's repository.")] = False,
    threads: Annotated[int, typer.Option(help="Torch threads.")] = 2,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Run TARGET over documents and store its activations at sampled tokens.

    The forward pass stops after the deepest layer asked for; several layers cost one pass. Positions depend only on
    (seed, document). Too short documents are skipped and truncated ones counted. Interrupted? Run it again: finished
    shards stay.

    \b
      legible capture targets/world --out stores/train --layers 2 --min-pos 12
      legible capture MODEL --corpus texts.jsonl --layers 1,2,3 --min-pos 20 --out stores/mine
      legible capture MODEL --corpus texts.jsonl --split dev --documents 60 --out stores/dev
    """
    not_negative("documents", documents)
    from legible.recipes import stages
    from legible.recipes.sources import Source, split_named

    stages.use_threads(threads)
    source = Source(corpus=corpus, seed=config.seed)
    chosen = source.documents(split_named(split), documents)
    model = stages.open_target(target, revision=revision, trust_remote_code=trust_remote_code, layers=config.layers)
    store = stages.capture(model, chosen, config, out, line_progress("capture", len(chosen)))
    found = {"store": str(out), "rows": len(store), "layers": list(store.layers), **store.counts}
    if json:
        print_json(found)
    else:
        typer.echo("  ".join(f"{key} {value}" for key, value in found.items()))


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(capture)
