"""`legible probe`: what there is to read in a target."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import answer
from legible.cli.options import placed
from legible.config import Placement


@placed
def probe(
    place: Placement,
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="The captured model: directory, hub name, GGUF file or named target."),
    ],
    store: Annotated[
        Path, typer.Argument(metavar="STORE", help="Store of the training split, on which the probes are fitted.")
    ],
    held_out: Annotated[
        Path, typer.Argument(metavar="HELD_OUT", help="Store of other documents, on which they are judged.")
    ],
    layer: Annotated[int, typer.Option(help="Layer K, one of the stores'.")],
    language: Annotated[str, typer.Option(metavar="world|text", help="Where facts of the text come from.")] = "world",
    seed: Annotated[int, typer.Option(help="Seed of the folds.")] = 0,
    threads: Annotated[int, typer.Option(help="Torch threads.")] = 2,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Report what activations hold, before a verbalizer is trained on them.

    For each kind of fact the probes' accuracy over chance; how much of the activation the last two tokens and the
    position explain (token lookup); what all stated facts add to that; the target's loss compared with the
    entropy of the text.

    \b
      legible probe targets/world stores/train stores/dev --layer 2
      legible probe MODEL stores/mine stores/dev --layer 3 --language text --json
    """
    from legible.evaluate.report import target_lines
    from legible.recipes.inputs import open_store, open_target, use_threads
    from legible.recipes.stages.targets import Probe

    use_threads(threads)
    model = open_target(target, layers=(layer,), place=place)
    report = Probe(model, open_store(store), open_store(held_out), layer, language, seed).run()
    answer(report, "\n".join(target_lines(report)), json=json)
