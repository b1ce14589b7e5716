"""`legible calibrate`: fit the calibrator behind p_true, or measure V, and keep it with the checkpoint."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import answer, not_negative, note
from legible.cli.options import CheckpointName, Reconstructor, placed, section_options
from legible.config import CalibrateConfig, Placement
from legible.documents import check_corpus
from legible.errors import UsageError
from legible.reading.checkpoint_name import check_name


@section_options(CalibrateConfig)
@placed
def calibrate(
    place: Placement,
    config: CalibrateConfig,
    checkpoint: CheckpointName,
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
    target: Annotated[str | None, typer.Option(help="Where the target is, if not where the contract says.")] = None,
    reconstructor: Reconstructor = None,
    variance: Annotated[
        bool, typer.Option("--variance", help="Measure V and the token lookup instead, where CHECKPOINT records none.")
    ] = False,
    variance_documents: Annotated[
        int,
        typer.Option(metavar="N", help="With --variance: how many documents are read at most, eight tokens of each."),
    ] = 1000,
    threads: Annotated[int, typer.Option(help="Torch threads.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Fit the probability that a claim is true (p_true) on held-out documents, and store it with CHECKPOINT.

    Reads documents that no training and no evaluation uses and whose truth is known: stories of the built-in world and
    texts of one to three of its sentences, or the corpus's split `calibrate` for the text language. Fits two
    calibrators, one for a single explanation and one for several sampled ones, and writes calibrator.json into the
    checkpoint's folder and its name into the contract.

    --variance does something else: it measures the variance V of the target's activations, without which there is no
    FVE, and the token lookup that context FVE is compared with. Both are stored beside a local folder or, for a hub
    name, in the cache, and are found there from then on.

    \b
      legible calibrate runs/tiny
      legible calibrate builtin --out calibrated
      legible calibrate runs/mine --corpus texts.jsonl --documents 300 --json
      legible calibrate OWNER/NAME-av --variance --corpus texts.jsonl
    """
    check_name(checkpoint)
    check_corpus(corpus)
    from legible.reading.opening import load_checkpoint
    from legible.recipes.calibrate import summary, summary_lines
    from legible.recipes.inputs import use_threads
    from legible.recipes.stages.calibrate import Calibrate, MeasureVariance

    if variance and probes is not None:
        raise UsageError("--probes belong to the calibrator, which --variance does not fit.\n  Leave one of them out.")
    use_threads(threads)
    loaded = load_checkpoint(checkpoint, target=target, reconstructor=reconstructor, place=place)
    if variance:
        stage = MeasureVariance(loaded, checkpoint, corpus, not_negative("variance-documents", variance_documents))
        found, kept = stage.run(out), out or loaded.kept
        answer({**found.variance.model_dump(), "corpus": found.corpus, "kept": str(kept)}, found.line(), json=json)
        note(f"kept in {kept}" if loaded.measured is None or out else f"measured before: delete {kept} to do it anew")
        return
    pair = Calibrate(loaded, checkpoint, config, corpus, probes).run(out)
    note(f"calibrator: {(out or loaded.path) / 'calibrator.json'}")
    answer(summary(pair), "\n".join(summary_lines(pair)), json=json)
