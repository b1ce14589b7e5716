"""`legible calibrate`: fit the calibrator behind p_true and store it with its checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import answer, note
from legible.cli.options import placed, section_options
from legible.config import CalibrateConfig, Placement


@section_options(CalibrateConfig)
@placed
def calibrate(
    place: Placement,
    config: CalibrateConfig,
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="Run directory, checkpoint directory, hub name, or 'builtin'.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Write a copy of the checkpoint, calibrated, to this new folder.")
    ] = None,
    corpus: Annotated[
        str | None, typer.Option(help="Documents to draw held-out ones from.  [default: the contract's]")
    ] = None,
    probes: Annotated[
        Path | None,
        typer.Option(help="Probes of these activations, e.g. RUN/probes.safetensors.  [default: the checkpoint's]"),
    ] = None,
    target: Annotated[str | None, typer.Option(help="Where the target lies, if not where the contract says.")] = None,
    threads: Annotated[int, typer.Option(help="Torch threads.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Fit the probability that a claim is true (p_true) on held-out documents, and store it with CHECKPOINT.

    Reads documents that no training and no evaluation uses and whose truth is known: stories of the built-in world and
    texts of one to three of its sentences, or the corpus's split `calibrate` for the facts language. Fits two
    calibrators, one for a single explanation and one for several sampled ones, and writes calibrator.json into the
    checkpoint's folder and its name into the contract.

    \b
      legible calibrate runs/tiny
      legible calibrate builtin --out calibrated
      legible calibrate runs/mine --corpus texts.jsonl --documents 300 --json
    """
    from legible.reading.opening import load_checkpoint
    from legible.recipes.calibrate import summary, summary_lines
    from legible.recipes.inputs import use_threads
    from legible.recipes.stages.calibrate import Calibrate

    use_threads(threads)
    loaded = load_checkpoint(checkpoint, target=target, place=place)
    pair = Calibrate(loaded, checkpoint, config, corpus, probes).run(out)
    note(f"calibrator: {(out or loaded.path) / 'calibrator.json'}")
    answer(summary(pair), "\n".join(summary_lines(pair)), json=json)
