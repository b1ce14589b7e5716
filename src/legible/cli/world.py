"""`legible world`: stories of the built-in world and what is true in them."""

from enum import StrEnum
from typing import Annotated

import typer

from legible.cli.common import not_negative, print_json


class Split(StrEnum):
    """Who may see a story; wordings and combinations of `test` are held out from the other splits."""

    pretrain = "pretrain"
    train = "train"
    dev = "dev"
    test = "test"


world = typer.Typer(
    name="world", help="The built-in world: stories whose every fact is decidable.", no_args_is_help=True
)


@world.command()
def sample(
    seed: Annotated[int, typer.Option(help="Seed of the stories.", show_default=True)] = 0,
    index: Annotated[int, typer.Option(help="Number of the story under this seed.")] = 0,
    split: Annotated[Split, typer.Option(help="Split that the story belongs to.")] = Split.test,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout, nothing else.")] = False,
) -> None:
    """Print a story of the built-in world.

    A story is a pure function of (split, seed, index). With --json: its hidden state, every statement with the
    character from which it holds, and each fact's status (stated, implied, open) at every token.

    \b
      legible world sample --seed 7
      legible world sample --seed 7 --json | jq .state
    """
    from legible.world import story_document

    document = story_document(split.value, not_negative("seed", seed, 0), not_negative("index", index, 0))
    if not json:
        typer.echo(document.text)
        return
    from legible.analysis.world import story_report

    print_json(story_report(document))


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.add_typer(world)
