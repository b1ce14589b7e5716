"""A steered text in the terminal: every strength with its continuation, what it costs, and the controls beside it."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from legible.display import visible
from legible.steer.steered import Steered, Try

_HOW = {"later": "at it and all later tokens", "one": "at it alone", "patch": "patched at it"}


def print_steered(found: Steered, console: Console | None = None) -> None:
    """Print explanation, edit, proposal and continuations to stdout; of the controls those at the proposed strength."""
    console = console or Console()
    console.print(Text(f"token {found.pos} ({visible(found.token.strip())}), layer {found.layer}, {_HOW[found.mode]}"))
    console.print(Text(f"reads   {visible(found.explanation)}"))
    console.print(Text(f"edited  {visible(found.edited)}" if found.edited is not None else "added   the vector given"))
    if found.unrelated is not None:
        console.print(Text(f"unrelated edit  {visible(found.unrelated)}", style="dim"))
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("", no_wrap=True)
    table.add_column("strength", justify="right", no_wrap=True)
    table.add_column("read back", no_wrap=True)
    table.add_column("nats", justify="right", no_wrap=True)
    table.add_column("continuation", ratio=1, overflow="fold")
    _add(table, "untouched", found.untouched, "")
    for one in found.steered:
        _add(table, "edit" if found.edited is not None else "vector", one, "bold green" if one is found.chosen else "")
    for name, tries in found.controls.items():
        for one in tries:
            if one.strength == found.proposal.strength:
                _add(table, name, one, "dim")
    console.print(table)
    console.print(Text(f"strength {found.proposal.strength:g}: {found.proposal.reason}", style="bold"))
    if all(_said(one) == _said(found.untouched) for one in found.steered):
        console.print(
            Text("nothing changed: every continuation is the untouched one; try larger --strengths", style="yellow")
        )
    console.print(
        Text("strength: length of the vector over the activation's; nats: what the untouched target pays per token")
        if found.mode != "patch"
        else Text("strength: share of the way to the edited words; nats: what the untouched target pays per token")
    )


def _said(one: Try) -> list[str]:
    return [continuation.text for continuation in one.continuations]


def _add(table: Table, name: str, one: Try, style: str) -> None:
    for row, said in enumerate(one.continuations):
        table.add_row(
            Text(name if row == 0 else "", style=style),
            Text(f"{one.strength:g}" if row == 0 and name != "untouched" else "", style=style),
            Text("" if one.read_back is None or row else "yes" if one.read_back else "no", style=style),
            Text("" if said.nats is None else f"{said.nats:.2f}", style=style),
            Text(visible(said.text.strip()), style=style),
        )
