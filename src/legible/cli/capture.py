"""`legible capture`: a target's activations on documents, into a store."""

from pathlib import Path
from typing import Annotated, get_args

import typer

from legible.cli.common import answer, not_negative
from legible.cli.options import chosen_from, placed, section_options
from legible.config import CaptureConfig, Placement
from legible.documents import Split, check_corpus
from legible.progress import line_progress


@section_options(CaptureConfig, renamed={"dtype": "store_dtype"})
@placed
def capture(
    place: Placement,
    config: CaptureConfig,
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A causal LM: directory, hub name, GGUF file or named target.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the store.")],
    corpus: Annotated[
        str | None,
        typer.Option(help="Documents: .jsonl, .json (field text) or .txt, also .gz.  [default: the world's stories]"),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            metavar="train|dev|test",
            help="Which documents: splits are by document.",
            callback=chosen_from("--split", get_args(Split)),
        ),
    ] = "train",
    documents: Annotated[int, typer.Option(help="At most this many documents.")] = 3000,
    revision: Annotated[str | None, typer.Option(help="Hub revision of the target.")] = None,
    trust_remote_code: Annotated[bool, typer.Option(help="Run model code from the target's repository.")] = False,
    threads: Annotated[int, typer.Option(help="Torch threads.")] = 2,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Run TARGET over documents and store its activations at sampled tokens.

    The forward pass stops after the deepest layer asked for; several layers cost one pass. Positions depend only on
    (seed, document). Documents that are too short are skipped; truncated ones are counted. Interrupted? Run it again:
    finished shards are kept.

    \b
      legible capture targets/world --out stores/train --layers 2 --min-pos 12
      legible capture MODEL --corpus texts.jsonl --layers 1,2,3 --min-pos 20 --out stores/mine
      legible capture MODEL --corpus texts.jsonl --split dev --documents 60 --out stores/dev
    """
    not_negative("documents", documents)
    check_corpus(corpus)
    from legible.recipes.inputs import open_target, use_threads
    from legible.recipes.sources import DocumentSource, split_named
    from legible.recipes.stages.rows import Capture

    use_threads(threads)
    source = DocumentSource(corpus=corpus, seed=config.seed)
    chosen = source.documents(split_named(split), documents)
    model = open_target(
        target, revision=revision, trust_remote_code=trust_remote_code, layers=config.layers, place=place
    )
    store = Capture(model, chosen, config).run(out, line_progress("capture", len(chosen)))
    found = {"store": str(out), "rows": len(store), "layers": list(store.layers), **store.counts}
    answer(found, "  ".join(f"{key} {value}" for key, value in found.items()), json=json)
