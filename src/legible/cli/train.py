"""`legible train`: a whole run from a recipe."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import agreed, note, print_json
from legible.cli.options import placed
from legible.config import Placement
from legible.documents import check_corpus


@placed
def train(
    place: Placement,
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="tiny, laptop, small, or a saved config.json.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    target: Annotated[
        str | None, typer.Option(help="The causal LM to read: directory, hub name, GGUF file or named target.")
    ] = None,
    corpus: Annotated[str | None, typer.Option(help="Documents: .jsonl, .json (field text) or .txt, also .gz.")] = None,
    layer: Annotated[int | None, typer.Option(help="Layer K: the stream after block K, from 0.")] = None,
    teacher: Annotated[
        str | None, typer.Option(help="world, text, openai:MODEL@URL, anthropic:MODEL or local:PATH.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every stage.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting, e.g. rl.steps=50.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Download the packages that hold the recipe's texts.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The report as JSON on stdout, nothing else.")] = False,
) -> None:
    """Train a verbalizer and a reconstructor from nothing, evaluate them and write a report.

    Stages: (pretrain, texts,) corpus, capture, target report, teach, sft, rl, calibrate, evaluate. Run the same command
    again after an interruption: finished stages are skipped and the interrupted one resumes.

    \b
      legible train tiny --out runs/tiny
      legible train small --target MODEL --corpus texts.jsonl --layer 2 --teacher text --out runs/mine
      legible train laptop --target smollm2 --yes --out runs/laptop
      legible train tiny --out runs/no-rl --set rl.steps=0
      legible train runs/tiny/config.json --out runs/again

    Ends with the scores on held-out documents, and writes OUT/report.html, OUT/report.json, OUT/checkpoint and
    everything in between.
    """
    check_corpus(corpus)
    from legible.recipes import resolve

    config = resolve(recipe, target=target, corpus=corpus, layer=layer, teacher=teacher, seed=seed, settings=set_ or [])
    if not place.is_default:
        config = config.model_copy(update={"placement": place})
    if config.texts is not None and not (out / "texts.jsonl").exists():
        from legible.corpora.own import needed

        agreed(needed(config.texts.tags == "names"), yes, "give texts of yours with --corpus")
    from legible.recipes.run import run

    report = run(config, out)
    if json:
        print_json(report)
        return
    from legible.evaluate.report import score_lines

    typer.echo("\n".join(score_lines(report)))
    note(f"checkpoint: {out / 'checkpoint'}")
    typer.echo(f"report: {(out / 'report.html').resolve()}")
