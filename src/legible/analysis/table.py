"""Readings as a coloured table in the terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from legible.analysis.read import Reading
from legible.display import visible
from legible.evaluate.marks import marked

_VERDICT_STYLE = {"true": "green", "false": "red", "open": "yellow", "abstain": "dim"}


def print_table(readings: Sequence[Reading], console: Console | None = None) -> None:
    """Print position, token, explanation, score and flags of each reading to stdout."""
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("pos", justify="right", no_wrap=True)
    table.add_column("token", no_wrap=True)
    table.add_column("explanation", ratio=1, overflow="fold")
    table.add_column("FVE", justify="right", no_wrap=True)
    table.add_column("flags", max_width=16, overflow="fold")
    for reading in readings:
        table.add_row(
            str(reading.pos),
            Text(visible(reading.token), style=f"bold {_tint(reading.fve_token)}"),
            _explanation(reading),
            Text("" if reading.fve_token is None else f"{reading.fve_token:.2f}", style=_tint(reading.fve_token)),
            Text(" ".join(reading.flags), style="yellow"),
        )
    console = console or Console()
    console.print(table)
    decided = {claim.verdict for reading in readings for claim in reading.claims} & {"true", "false", "open"}
    if decided:
        console.print(Text.assemble("claims: ", ("true", "green"), " ", ("false", "red"), " ", ("left open", "yellow")))


def _explanation(reading: Reading) -> Text:
    if reading.explanation is None:
        return Text("(no explanation came out)", style="dim")
    return Text.assemble(
        *(
            (visible(piece), _VERDICT_STYLE.get(verdict, ""))
            for piece, verdict in marked(reading.explanation, reading.decided())
        )
    )


def _tint(fve: float | None) -> str:
    if fve is None:
        return ""
    return "green" if fve >= 0.75 else "cyan" if fve >= 0.5 else "yellow" if fve >= 0.25 else "red"
