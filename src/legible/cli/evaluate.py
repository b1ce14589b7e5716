"""`legible evaluate`: a checkpoint on fresh held-out documents."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import note, print_json
from legible.cli.options import section_options
from legible.config import EvalConfig


@section_options(EvalConfig)
def evaluate(
    config: EvalConfig,
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="Run directory, checkpoint directory, hub name, or 'builtin'.")
    ],
    corpus: Annotated[
        str | None, typer.Option(help="Documents to draw held-out ones from.  [default: the contract's]")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Where the target lies, if not where the contract says.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a self-contained HTML report to this file.")] = None,
    threads: Annotated[int, typer.Option(help="Torch threads.")] = 2,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Measure a checkpoint on fresh held-out documents, beside the floors it has to clear.

    FVE and context FVE with intervals over documents; floors (constant guess, token lookup, shuffled explanations, a
    verbalizer given no activation, one given another document's); references; parse failures; length. In the
    built-in world also precision, recall of the decodable and foresight, on wordings held out from training.

    \b
      legible evaluate builtin
      legible evaluate runs/tiny --seed 5 --documents 50 --json | jq .context_fve
      legible evaluate runs/mine --corpus texts.jsonl --html report.html
    """
    from legible.recipes import stages, standalone
    from legible.train.checkpoint import load_checkpoint

    stages.use_threads(threads)
    report = standalone.evaluate(load_checkpoint(checkpoint, target=target), checkpoint, config, corpus)
    if html is not None:
        from legible.evaluate.report import write_report

        write_report(html, report)
        note(f"report: {html}")
    if json:
        print_json(report)
        return
    from legible.evaluate.report import summary_lines

    typer.echo("\n".join(summary_lines(report)))


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(evaluate)
