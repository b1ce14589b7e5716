"""`legible rl`: joint training of a warm-started pair."""

from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import answer
from legible.cli.options import placed, section_options
from legible.config import Placement, RLConfig
from legible.reading.checkpoint_name import check_name


@section_options(RLConfig)
@placed
def rl(
    place: Placement,
    config: RLConfig,
    checkpoint: Annotated[
        str, typer.Argument(metavar="CHECKPOINT", help="The warm-started pair, as made by legible sft.")
    ],
    store: Annotated[Path, typer.Argument(metavar="STORE", help="Store of the training split.")],
    dev: Annotated[
        Path, typer.Argument(metavar="DEV", help="Store of other documents, on which the best step is chosen.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    threads: Annotated[int, typer.Option(help="Torch threads; results are bit-identical at the same number.")] = 2,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Train verbalizer and reconstructor together: the reward is how well the vector is reconstructed.

    GRPO with the KL to the warm start in the loss and a length cost; the reconstructor is trained on the same rollouts.
    The best step by the held-out measure --select-by is kept, not the last; step 0 is the warm start.

    \b
      legible rl runs/world-sft stores/train stores/dev --out runs/world-rl
      legible rl runs/world-sft stores/train stores/dev --steps 20 --group 4 --out runs/short
    """
    check_name(checkpoint)
    from legible.recipes.inputs import use_threads
    from legible.recipes.stages.training import RL

    use_threads(threads)
    counts = RL.alone(checkpoint, store, dev, config, place).run(out)
    answer({"checkpoint": str(out / "checkpoint"), **counts}, out / "checkpoint", json=json)
