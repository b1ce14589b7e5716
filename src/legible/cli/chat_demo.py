"""`legible demo NAME` of a shipped pair on a chat model: get the model where it is wanted, then read a chat with it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from legible.cli.common import note, program
from legible.cli.target import facts
from legible.errors import LegibleError, UsageError
from legible.names import did_you_mean

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from legible.models.named import NamedTarget
    from legible.recipes.chat_demo import ChatDemonstration, Moment

COLUMNS = 100
_HOW = (
    "Each reading is written from one vector, the activation at one token, without the text. A number is p_true, the "
    "probability that the claim before it is true; claims below one half are withheld (…)."
)


class NotFetchedError(LegibleError):
    """The user did not want the model fetched."""


def chat_demo(name: str, out: Path, *, yes: bool) -> None:
    """Read a chat with a shipped pair, its target fetched first where that is agreed to.

    Raises:
        UsageError: no such pair, or its target is not here and there is no terminal to ask on.
        NotFetchedError: the answer was no.
    """
    target = target_of(name)
    from rich.console import Console

    from legible.reading.html import write_reading
    from legible.reading.reader import load
    from legible.recipes.chat_demo import demonstrate_chat

    for fact in facts(target):
        note(fact)
    if not target.path.is_file():
        get(target, name, yes=yes)
    note("loading the model and its pair, and reading a chat ...")
    found = demonstrate_chat(load(name))
    write_reading(out, found.text, [moment.reading for moment in found.moments], found.about)
    console = Console(highlight=False)
    console.width = min(COLUMNS, console.width)
    for line in page(console, found, name, out.resolve()):
        console.print(line, soft_wrap=True)


def target_of(name: str) -> "NamedTarget":
    """The named target of a shipped pair.

    Raises:
        UsageError: no pair of that name ships here, or its target has no name here.
    """
    from legible.models.named import find_named
    from legible.reading.shipped import shipped, shipped_names

    folder = shipped(name)
    if folder is None:
        raise UsageError(
            f"no pair {name!r} ships with this version.{did_you_mean(name, shipped_names())} "
            f"Expected one of {', '.join(shipped_names())}.\n"
            f"  To read a checkpoint of yours: {program()} read CHECKPOINT TEXT"
        )
    from legible.reading.checkpoint import contract_in

    extra = contract_in(folder / "av").legible
    found = find_named(extra.target.id) if extra is not None and extra.target is not None else None
    if found is None:
        raise UsageError(
            f"the target of {name} has no registered name, so it cannot be downloaded: legible target list"
        )
    return found


def get(target: "NamedTarget", name: str, *, yes: bool) -> None:
    """Fetch the target, asked for on a terminal unless it was agreed to.

    Raises:
        UsageError: there is no terminal to ask on.
        NotFetchedError: the answer was no.
    """
    from legible.models.fetching import fetch

    if not yes and not sys.stdin.isatty():
        raise UsageError(
            f"{target.name} is not here, and there is no terminal to ask whether to download it.\n"
            f"  Download it and continue: {program()} demo {name} --yes"
        )
    if not yes and not typer.confirm("Get it?", default=True, err=True):
        raise NotFetchedError(f"nothing was fetched. Later: {program()} target get {target.short}")
    fetch(target)


def page(console: "Console", found: "ChatDemonstration", name: str, report: Path) -> "list[Text]":
    """The whole answer."""
    from rich.text import Text

    from legible.cli.demo import wrapped
    from legible.display import visible

    broken = "" if found.finished else " …"
    lines = [
        Text.assemble(("You ask: ", "bold"), visible(found.question)),
        *wrapped(console, Text.assemble(("It says: ", "bold"), visible(found.reply) + broken), 0, 9),
        Text(),
        *wrapped(console, Text(_HOW)),
        *wrapped(console, Text.assemble(
            "What it was about to say is checked against what it then said: ", ("true", "green"), ", ",
            ("false", "red"), ", ", ("undecided by it", "yellow"), ".")),
    ]  # fmt: skip
    for moment in found.moments:
        lines += [Text(), *_block(console, moment)]
    return [
        *lines,
        Text(),
        Text(f"report: {report}"),
        Text("Next:", style="bold"),
        Text(f'  {program()} read {name} "A question of yours" --chat --positions -1'),
        Text(f"  {program()} serve {name}    (chat with it, and click a token)"),
    ]


def _block(console: "Console", moment: "Moment") -> "list[Text]":
    """A token, what is read there by family, and what the model said next."""
    from rich.text import Text

    from legible.cli.demo import wrapped
    from legible.display import visible
    from legible.reading.families import by_family
    from legible.reading.table import explanation, family_line

    reading = moment.reading
    where = "where its answer begins" if moment.begins else f"in its answer, at “{visible(reading.token)}”"
    lines = [Text.assemble((f"{reading.pos:>4}  ", "dim"), (where, "bold"))]
    if reading.claims:
        for group in by_family(reading):
            lines += wrapped(console, family_line(group, numbers=True), 6, 8)
    else:
        lines += wrapped(console, explanation(reading), 6)
    if notes := reading.notes():
        lines += wrapped(console, Text(f"({notes})", "dim"), 6)
    return [
        *lines,
        *wrapped(console, Text.assemble(("then said: ", "bold"), visible(moment.said) or "(nothing)"), 6, 8),
    ]
