"""`legible truth`: how true a checkpoint's claims are, and how far their p_true can be trusted."""

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import answer, answer_shipped, note
from legible.cli.options import CheckpointName, OtherTarget, Reconstructor, placed, section_options
from legible.config import Placement, TruthConfig
from legible.documents import check_corpus
from legible.reading.checkpoint_name import check_name


@section_options(TruthConfig)
@placed
def truth(
    place: Placement,
    config: TruthConfig,
    checkpoint: CheckpointName,
    judge: Annotated[
        str | None,
        typer.Option(
            metavar="openai:MODEL@URL|anthropic:MODEL|local:PATH",
            help="Let a language model give the verdicts.  [default: the checkpoint's own language]",
        ),
    ] = None,
    judge_cache: Annotated[
        Path | None, typer.Option(help="File that keeps the judge's answers.  [default: one in the cache folder]")
    ] = None,
    corpus: Annotated[
        str | None, typer.Option(help="Documents to draw held-out ones from.  [default: the contract's]")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Where the target is, if not where the contract says.")] = None,
    other_target: OtherTarget = False,
    reconstructor: Reconstructor = None,
    html: Annotated[Path | None, typer.Option(help="Also write a self-contained HTML report to this file.")] = None,
    threads: Annotated[int, typer.Option(help="Torch threads.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Measure how true the claims of CHECKPOINT are and how far their p_true can be trusted.

    Precision, recall of the decodable, foresight and abstention; with a calibrator also precision at half coverage,
    calibration error, Brier skill and AUROC, the reliability diagram and precision against coverage; all per kind of
    fact and per position, with 95 % intervals over fresh held-out documents.

    Truth is exact in the built-in world; in other texts labels decide, rules on the text, and what the target itself
    goes on to say. With --judge a language model decides instead: refused, unreadable and contradictory answers are
    asked again, then counted and never scored, and its agreement with what is known otherwise is reported too.

    \b
      legible truth builtin
      legible truth builtin --samples 1 --json | jq .ece
      legible truth builtin --documents sentences --count 200
      legible truth runs/mine --corpus texts.jsonl --html truth.html
      legible truth runs/mine --judge openai:my-model@http://localhost:8000/v1
    """
    check_name(checkpoint)
    check_corpus(corpus)
    from legible.evaluate.truth_page import truth_lines, write_truth
    from legible.reading.opening import load_checkpoint
    from legible.recipes.inputs import use_threads
    from legible.recipes.stages.measuring import Truth, default_cache
    from legible.teachers.judge import make_judge

    plain = corpus is None and target is None and judge is None and config == TruthConfig()
    if plain and answer_shipped(checkpoint, "truth", html, write_truth, truth_lines, json=json):
        return
    use_threads(threads)
    loaded = load_checkpoint(
        checkpoint, target=target, reconstructor=reconstructor, other_target=other_target, place=place
    )
    with ExitStack() as opened:
        asked = None
        if judge is not None:
            asked = opened.enter_context(closing(make_judge(judge, cache=judge_cache or default_cache())))
        report = Truth(loaded, checkpoint, config, corpus, judge=asked).run()
    if html is not None:
        write_truth(html, report)
        note(f"report: {html}")
    answer(report, "\n".join(truth_lines(report)), json=json)
