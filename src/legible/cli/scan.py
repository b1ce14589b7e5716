"""`legible scan`: which layer of a model is worth reading."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import answer, not_negative, note
from legible.cli.options import placed
from legible.config import Placement
from legible.documents import check_corpus


@placed
def scan(
    place: Placement,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="A causal LM: directory, hub name, GGUF file, named target, or 'builtin'."
        ),
    ],
    corpus: Annotated[
        str | None,
        typer.Option(
            help="Documents: .jsonl, .json (field text) or .txt, also .gz.  [default: the world's, for builtin]"
        ),
    ] = None,
    layers: Annotated[str, typer.Option(metavar="all|0,2,5", help="Which layers, counted from 0.")] = "all",
    documents: Annotated[int, typer.Option(help="At most this many documents, of the training split.")] = 300,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="text|world|none",
            help="Where facts of the text come from.  [default: text; world for the world's stories]",
        ),
    ] = None,
    positions: Annotated[int, typer.Option(help="Tokens read of each document.")] = 24,
    min_pos: Annotated[int, typer.Option(help="Earliest token read.")] = 24,
    max_tokens: Annotated[int, typer.Option(help="Documents are cut to this many tokens.")] = 256,
    seed: Annotated[int, typer.Option(help="Seed of positions and folds.")] = 0,
    threads: Annotated[int, typer.Option(help="Torch threads.")] = 2,
    html: Annotated[Path | None, typer.Option(help="Also write a self-contained HTML report to this file.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Compare the layers of MODEL without training anything, and propose where to train a reader.

    One pass over the documents. For each layer: how much of the activations the last two tokens and the position
    explain (lookup); what facts of the text and the model's own next tokens add; how well probes read the facts; and
    how long the activations are. Ends with the layer where words add most, and the command that trains there.

    \b
      legible scan builtin
      legible scan MODEL --corpus texts.jsonl
      legible scan MODEL --corpus texts.txt --layers 8,12,16 --labels none --json | jq .proposal
    """
    for name, value in (("documents", documents), ("positions", positions), ("max-tokens", max_tokens)):
        not_negative(name, value)
    not_negative("min-pos", min_pos, 0)
    not_negative("seed", seed, 0)
    check_corpus(corpus)
    from legible.evaluate.scan import SCAN_CAPTURE
    from legible.recipes.inputs import use_threads
    from legible.recipes.scan import scan_model

    use_threads(threads)
    sampled = {"positions_per_doc": positions, "min_pos": min_pos, "max_tokens": max_tokens, "seed": seed}
    config = SCAN_CAPTURE.model_copy(update=sampled)
    report = scan_model(model, corpus, layers=layers, documents=documents, labels=labels, config=config, place=place)
    from legible.evaluate.scan_report import scan_lines, write_scan

    if html is not None:
        write_scan(html, report)
        note(f"report: {html}")
    answer(report, "\n".join(scan_lines(report)), json=json)
