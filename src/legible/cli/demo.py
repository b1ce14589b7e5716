"""`legible demo`: the main job on embedded defaults."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from legible.cli.common import note, program

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from legible.recipes.demo import Demonstration, Shown

LINES, COLUMNS = 59, 100  # at most; the line of progress comes on top


def demo(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[PAIR]", help="A shipped pair: builtin, or smollm2.  [default: builtin]", show_default=False
        ),
    ] = "builtin",
    out: Annotated[Path, typer.Option(help="Where the HTML report goes.")] = Path("demo-report.html"),
    seed: Annotated[int, typer.Option(help="builtin: seed of the story, held out from training.")] = 0,
    yes: Annotated[
        bool, typer.Option("--yes", help="Download the pair's model without asking, if it is missing.")
    ] = False,
) -> None:
    """Read a story of the built-in world, or a chat with a real model, with a pair that ships here.

    Prints the story, some of its readings with the reason why each is shown, and the path of a report of all of them, a
    self-contained HTML file. The story comes from the built-in world's held-out split, so every claim is checked
    against what the story really says. The readings to show are chosen by rules, not by hand.

    smollm2 reads a real chat model. Its source, size, licence and checksum are shown first; if it is not on this
    machine it is downloaded after you agree, on the terminal or with --yes. The model answers a question and is read
    where its answer begins and at some tokens of it: what it holds and is about to say, beside what it then said.

    \b
      legible demo
      legible demo smollm2
      legible demo --seed 3 --out story-3.html
    """
    from legible.reading.shipped import WORLD

    if name != WORLD:
        from legible.cli.chat_demo import chat_demo

        chat_demo(name, out, yes=yes)
        return
    from rich.console import Console

    from legible.reading.html import write_reading
    from legible.recipes.demo import demonstrate

    note("loading the built-in pair and reading a story ...")
    found = demonstrate(seed)
    write_reading(out, found.document.text, found.readings, found.about)
    console = Console(highlight=False)
    console.width = min(COLUMNS, console.width)
    for line in _page(console, found, out.resolve()):
        console.print(line, soft_wrap=True)


def _page(console: "Console", found: "Demonstration", report: Path) -> "list[Text]":
    """The whole answer; of the readings as many as leave it at most `LINES` long."""
    from rich.text import Text

    from legible.reading.shipped import shipped_names, shipped_target

    others = [name for name in shipped_names() if shipped_target(name) is None]
    head = [
        Text("A story that neither the target nor its readers have seen:", style="bold"),
        *wrapped(console, Text(found.document.text), 2),
        Text(),
        Text("Each reading is written from one vector, the activation at that token, without the text.", style="bold"),
        *wrapped(console, Text.assemble(
            "Claims are checked: ", ("true", "green"), ", ", ("false", "red"), ", ", ("left open", "yellow"),
            ". trust: mean/lowest p_true. FVE: how much of the vector the words bring back.")),
    ]  # fmt: skip
    foot = [
        Text(),
        *([Text(f"Not in this story: {', '.join(found.missing)}.")] if found.missing else []),
        *wrapped(console, Text(found.summary())),
        Text(f"report: {report}"),
        Text("Next:", style="bold"),
        Text(f'  {program()} read builtin "Our hero Pavel rested beside the desert."'),
        Text(f"  {program()} serve    (the same and more, in the browser)"),
        *(Text(f"  {program()} demo {name}    (a real chat model, read while it answers)") for name in others),
    ]
    blocks, room = {}, LINES - len(head) - len(foot)
    for one in found.shown:
        block = _block(console, one)
        if len(block) <= room:
            blocks[one.reading.pos] = block
            room -= len(block)
    return [*head, *(line for pos in sorted(blocks) for line in blocks[pos]), *foot]


def _block(console: "Console", one: "Shown") -> "list[Text]":
    """A reading: the token, why it is shown, and its words."""
    from rich.text import Text

    from legible.display import probability, visible
    from legible.reading.table import explanation

    reading = one.reading
    trust = f"trust {'/'.join(map(probability, found))}" if (found := reading.trusted()) else "no p_true"
    fve = "" if reading.fve_token is None else f", FVE {reading.fve_token:.2f}"
    title = Text.assemble(
        (f"{reading.pos:>4}  ", "dim"), (visible(reading.token).strip(), "bold"), f"  ({trust}{fve})  "
    )
    title.append(one.why, style="italic")
    words = explanation(reading)
    return [*wrapped(console, title, 0, 6), *wrapped(console, words, 6)]


def wrapped(console: "Console", text: "Text", indent: int = 0, later: int | None = None) -> "list[Text]":
    """The text in lines of the console's width, indented; those after the first by `later`."""
    from rich.text import Text

    later = indent if later is None else later
    lines = text.wrap(console, console.width - max(indent, later))
    for line in lines:
        line.rstrip()
    return [Text(" " * (later if number else indent)) + line for number, line in enumerate(lines)]
