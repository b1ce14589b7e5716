"""`legible prefer`: offline preference training of a verbalizer."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import answer
from legible.cli.options import placed, section_options
from legible.config import Placement, PreferConfig
from legible.reading.checkpoint_name import check_name


@section_options(PreferConfig)
@placed
def prefer(
    place: Placement,
    config: PreferConfig,
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="The warm-started pair, as made by legible sft or legible rl.")
    ],
    store: Annotated[Path, typer.Option(help="Store of the training split, whose activations are explained.")],
    dev: Annotated[Path, typer.Option(help="Store of other documents, on which the best step is chosen.")],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    pairs: Annotated[
        Path | None, typer.Option(help="Folder of sampled explanations, to share.  [default: OUT/pairs]")
    ] = None,
    threads: Annotated[int, typer.Option(help="Torch threads; results are bit-identical at the same number.")] = 2,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Train the verbalizer on its own ranked explanations: a cheaper alternative to legible rl.

    Explanations of some activations are sampled once and ranked by how well the vector is reconstructed, by the truth
    of their claims, or by both. Pairs of a better and a worse one, balanced in length, then train the verbalizer
    without further sampling; the reconstructor does not change. The best step by --select-by is kept.

    \b
      legible prefer runs/world-sft --store stores/train --dev stores/dev --out runs/world-dpo
      legible prefer runs/world-sft --store stores/train --dev stores/dev --loss simpo --rank-by both --out runs/simpo
    """
    check_name(checkpoint)
    from legible.recipes.inputs import use_threads
    from legible.recipes.stages.prefer import Prefer

    use_threads(threads)
    counts = Prefer.alone(checkpoint, store, dev, config, place, pairs=pairs).run(out)
    answer({"checkpoint": str(out / "checkpoint"), **counts}, out / "checkpoint", json=json)
