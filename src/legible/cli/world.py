"""`legible world`: stories of the built-in world and what is true in them."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from legible.cli.common import answer, not_negative, print_json
from legible.cli.options import on_device, section_options
from legible.config import Placement, SecretsConfig


class Split(StrEnum):
    """What a story may be used for; wordings and combinations of `test` are held out from the other splits."""

    pretrain = "pretrain"
    train = "train"
    dev = "dev"
    test = "test"


world = typer.Typer(
    name="world", help="The built-in world: stories in which every fact is decidable.", no_args_is_help=True
)


@world.command()
def sample(
    seed: Annotated[int, typer.Option(help="Seed of the stories.", show_default=True)] = 0,
    index: Annotated[int, typer.Option(help="Number of the story under this seed, or of the first of several.")] = 0,
    count: Annotated[int, typer.Option(help="How many stories, one per line.")] = 1,
    sentences: Annotated[
        int | None,
        typer.Option(metavar="1|2|3", help="Texts of this many sentences, as people type them, instead of stories."),
    ] = None,
    split: Annotated[Split, typer.Option(help="Split that the stories belong to.")] = Split.test,
    held_out: Annotated[
        bool,
        typer.Option(
            "--held-out", help="With wordings that nothing was trained on: the split test, which is the default."
        ),
    ] = False,
    json_lines: Annotated[
        bool, typer.Option("--json-lines", help="One JSON object per story, with doc_id and text: a corpus.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON object per story on stdout, with everything that is true in it.")
    ] = False,
) -> None:
    """Print stories of the built-in world.

    A story is a pure function of (split, seed, index). With --json: its hidden state, every statement with the
    character from which it holds, and each fact's status (stated, implied, open) at every token. With --json-lines, a
    corpus for --corpus of other commands; from its doc_id the world knows what is true in each text.

    \b
      legible world sample --seed 7
      legible world sample --count 50 --json-lines > texts.jsonl
      legible world sample --sentences 1 --held-out --count 1000
      legible world sample --seed 7 --json | jq .state
    """
    from legible.errors import UsageError
    from legible.languages.world import LANGUAGE

    if held_out and split != Split.test:
        raise UsageError(f"--held-out and --split {split.value} do not go together: only test is held out.")
    if json and json_lines:
        raise UsageError("--json and --json-lines do not go together: the second gives only the text and its id.")
    first = not_negative("index", index, 0)
    seed, count = not_negative("seed", seed, 0), not_negative("count", count)
    for document in LANGUAGE.documents(split.value, seed, count, skip=first, sentences=sentences):
        if json:
            from legible.recipes.story import story_report

            print_json(story_report(document))
        elif json_lines:
            print_json({"doc_id": document.doc_id, "text": document.text})
        else:
            typer.echo(document.text)


@world.command()
@section_options(SecretsConfig)
@on_device
def secrets(
    place: Placement,
    config: SecretsConfig,
    out: Annotated[Path, typer.Option(help="Folder for both targets and secrets.json.")],
    target: Annotated[
        str, typer.Option(help="Target of the world to start from: its folder, a run's or checkpoint's, or 'builtin'.")
    ] = "builtin",
    threads: Annotated[int, typer.Option(help="Torch threads; results are bit-identical at the same number.")] = 2,
    json: Annotated[
        bool, typer.Option("--json", help="The manifest as one JSON object on stdout, nothing else.")
    ] = False,
) -> None:
    """Plant secrets: two targets that believe different things on identical text.

    Both are fine-tuned from one target, on the same stories with different planted values. belief: a name
    decides the species. conduct: the weather decides other gear. scheme: mood and wish decide another plan. taboo: a
    secret word that no story says before its end. secrets.json records what each side was taught, the rows where it
    can be read, and what each target itself says there. `legible secrets` reads them. Interrupted? Run it again.

    \b
      legible world secrets --out runs/secrets
      legible world secrets --target runs/tiny --secrets belief,taboo --seed 1 --out runs/two
      legible world secrets --out runs/quick --steps 5 --documents 8 --told-rows 1
    """
    from legible.planted.plant import plant
    from legible.planted.report import manifest_lines
    from legible.recipes.inputs import use_threads

    use_threads(threads)
    manifest = plant(config, target, out, place)
    answer(manifest, "\n".join(manifest_lines(manifest)), json=json)
