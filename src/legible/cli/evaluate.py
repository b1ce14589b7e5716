"""`legible evaluate`: a checkpoint on fresh held-out documents."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import answer, answer_shipped, note
from legible.cli.options import CheckpointName, OtherTarget, Reconstructor, placed, section_options
from legible.config import EvalConfig, Placement
from legible.documents import check_corpus
from legible.errors import UsageError
from legible.reading.checkpoint_name import check_name


@section_options(EvalConfig)
@placed
def evaluate(
    place: Placement,
    config: EvalConfig,
    checkpoint: CheckpointName,
    corpus: Annotated[
        str | None, typer.Option(help="Documents to draw held-out ones from.  [default: the contract's]")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Where the target lies, if not where the contract says.")] = None,
    other_target: OtherTarget = False,
    reconstructor: Reconstructor = None,
    full: Annotated[
        bool, typer.Option("--full", help="Also the control battery: trains its controls first, or takes them.")
    ] = False,
    controls: Annotated[
        Path | None,
        typer.Option(help="Folder of what is trained for it and kept.  [default: one of the run, or a cache folder]"),
    ] = None,
    control_steps: Annotated[
        int | None,
        typer.Option(help="Steps of the controls' training; 0 trains none.  [default: the warm start's]"),
    ] = None,
    instruments: Annotated[
        str | None,
        typer.Option(metavar="all|NAME,…", help="Measure these rival instruments on the rows of the pair instead."),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE", help="A trained instrument's file, in place of training one; repeatable."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a self-contained HTML report to this file.")] = None,
    threads: Annotated[int, typer.Option(help="Torch threads.")] = 2,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Measure a checkpoint on fresh held-out documents, beside the floors that it has to beat.

    FVE and context FVE with intervals over documents; floors (constant guess, token lookup, shuffled explanations, a
    verbalizer given no activation, one given another document's); references; parse failures; length. In the
    built-in world also precision, recall of the decodable and foresight, on wordings held out from training.

    For claims about any text (language text), also the families, each measured separately: precision, calibration and
    AUROC of p_true, and how many claims are shown per reading, compared with the verbalizer given no activation;
    retrieval: the share of reconstructions that are nearest to the right one of 16 activations, whose texts end in the
    same 8 tokens; twins: pairs of texts that differ in one label and are told apart. --families, --retrieval-rows and
    --twins request these for other languages, or leave them out.

    --full adds the control battery: one table, paired with the readings over documents, each row with the doubt that it
    rules out. It trains a text-only writer and a second reconstructor for as many steps as the warm start; that takes
    longer than the warm start did, and resumes if stopped. The families are then compared with that writer too.

    --instruments puts readers of the same activations side by side on the same rows under the same judge: lenses,
    probes, reading vectors, nearest neighbours, what the untrained target writes of the activation, what it answers
    and writes when it is given the text alone, and the pair under its doubts. Of each: claims by
    family, with precision at the pair's recall; what comes back of the activation, and what that is worth to the
    target's next token; retrieval and twins; CPU seconds, labels and texts. What needs training is trained on the
    documents that fit the probes.
    Every row is kept: after a stop the same command measures the rest alone.

    \b
      legible evaluate builtin
      legible evaluate runs/tiny --seed 5 --documents 50 --json | jq .context_fve
      legible evaluate runs/mine --corpus texts.jsonl --html report.html
      legible evaluate runs/tiny --full --html report.html
      legible evaluate builtin --instruments all --html rivals.html
      legible evaluate builtin --instruments logit-lens,probes --json | jq '.instruments[].families'
      legible evaluate runs/chat --json | jq '.families.ahead, .retrieval.context, .twins.topic'
    """
    check_name(checkpoint)
    check_corpus(corpus)
    if (not full and control_steps is not None) or (controls is not None and not full and instruments is None):
        raise UsageError("--controls and --control-steps belong to the control battery.\n  Add --full.")
    if full and instruments is not None:
        raise UsageError("--full and --instruments are two reports.\n  Ask for one after the other.")
    if weights and instruments is None:
        raise UsageError("--weights is of an instrument.\n  Add --instruments NAME.")
    from legible.evaluate.report import summary_lines, write_report
    from legible.evaluate.rivals.table import rival_lines, write_rivals
    from legible.reading.opening import load_checkpoint
    from legible.recipes.controls import evaluate_fully
    from legible.recipes.inputs import use_threads
    from legible.recipes.rivals import chosen, evaluate_instruments, weights_given
    from legible.recipes.stages.measuring import Evaluate

    if instruments is not None:
        chosen(instruments)
    plain = corpus is None and target is None and not full and instruments is None and config == EvalConfig()
    if plain and answer_shipped(checkpoint, "evaluation", html, write_report, summary_lines, json=json):
        return
    use_threads(threads)
    loaded = load_checkpoint(
        checkpoint, target=target, reconstructor=reconstructor, other_target=other_target, place=place
    )
    if instruments is not None:
        rivals = evaluate_instruments(
            loaded, checkpoint, config, corpus, instruments, folder=controls, weights=weights_given(weights or [])
        )
        if html is not None:
            write_rivals(html, rivals)
            note(f"report: {html}")
        answer(rivals, "\n".join(rival_lines(rivals)), json=json)
        return
    if full:
        report = evaluate_fully(loaded, checkpoint, config, corpus, folder=controls, steps=control_steps)
    else:
        report = Evaluate(loaded, checkpoint, config, corpus).run()
    if html is not None:
        write_report(html, report)
        note(f"report: {html}")
    answer(report, "\n".join(summary_lines(report)), json=json)
