"""Readings as a coloured table in the terminal: verdicts as colours, trust as weight and as a column.

Not every terminal strikes words through, so doubtful claims are withheld and counted.
"""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from legible.display import probability, visible
from legible.reading.doubt import DOUBTFUL, SURE, above_floor, doubtful
from legible.reading.families import SILENT, Group, are_grouped, by_family
from legible.reading.html import missing, reasons
from legible.reading.marks import GAP, Piece, withheld
from legible.reading.reading import Reading

_SCORES = ("mse", "centred")
_VERDICT_STYLE = {"true": "green", "false": "red", "open": "yellow", "abstain": "dim"}


def print_table(readings: Sequence[Reading], console: Console | None = None, *, about: str = "") -> None:
    """Print position, token, explanation, trust, score and flags of each reading to stdout, and what they mean.

    `about` says who read, in a line below.
    """
    console = console or Console()
    trusted = any(reading.trusted() for reading in readings)
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("pos", justify="right", no_wrap=True)
    table.add_column("token", no_wrap=True)
    table.add_column("explanation", ratio=1, overflow="fold")
    if trusted:
        table.add_column("trust", justify="right", no_wrap=True)
    scored = any(reading.fve_token is not None for reading in readings)
    columns = _SCORES if not scored and any(reading.direction_mse is not None for reading in readings) else ()
    if scored:
        table.add_column("FVE", justify="right", no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("flags", max_width=16, overflow="fold")
    grouped = are_grouped(readings)
    for reading in readings:
        fve = "" if reading.fve_token is None else f"{reading.fve_token:.2f}"
        tint = _tint(above_floor(reading.fve_token, reading.floor_fve))
        table.add_row(
            str(reading.pos),
            Text(visible(reading.token), style=f"bold {tint}"),
            by_families(reading) if grouped else explanation(reading),
            *([_trust(reading)] if trusted else []),
            *([Text(fve, style=tint)] if scored else []),
            *([_number(reading.direction_mse), _number(reading.centered_cosine)] if columns else []),
            Text(" ".join(reading.flags), style="yellow"),
        )
    console.print(table)
    for line in (*_legend(readings, trusted), *(_unscaled(readings) if columns else ())):
        console.print(line)
    if about:
        console.print(Text(visible(about)))


def _legend(readings: Sequence[Reading], trusted: bool) -> list[Text]:
    lines = []
    if trusted:
        lines.append(Text.assemble("trust: mean/lowest p_true of the claims; ", (f"bold from {SURE}", "bold")))
    if any(reading.doubtful for reading in readings):
        means = f"{GAP} doubtful claims, of p_true below {DOUBTFUL}, are withheld"
        lines.append(Text(f"{means}: --html shows them struck through, --json has them"))
    if {claim.verdict for reading in readings for claim in reading.claims} & {"true", "false", "open"}:
        lines.append(Text.assemble("claims: ", ("true", "green"), " ", ("false", "red"), " ", ("left open", "yellow")))
    threshold = next((reading.trust for reading in readings if reading.trust is not None), None)
    if threshold is not None:
        withheld, silent = sum(r.withheld for r in readings), sum(r.abstains for r in readings)
        lines.append(
            Text(f"withheld below {threshold:g} or without p_true: {withheld} claims; readings that abstain: {silent}")
        )
    for reason, count in reasons(readings):
        lines.append(
            Text(f"{missing(readings)} in {count} of {len(readings)} readings: {visible(reason)}", style="yellow")
        )
    return lines


def _unscaled(readings: Sequence[Reading]) -> list[Text]:
    """What the scores mean that need no V, and what is missing."""
    lines = [
        "mse: 2 (1 - cosine) of the activation and what the words bring back: 0 exact, 2 orthogonal; small of any "
        "words where activations share a direction",
        "centred: their cosine about the mean of this text's own tokens: 1 exact, about 0 of any words"
        if any(reading.centered_cosine is not None for reading in readings)
        else "centred: none, since this text has too few tokens for a mean",
        "no FVE: the variance of these activations is not recorded with this checkpoint. Measure it once: legible "
        "calibrate CHECKPOINT --variance --corpus FILE",
    ]
    return [Text(line, style="yellow" if line.startswith("no FVE") else "") for line in lines]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def explanation(reading: Reading) -> Text:
    """The words of a reading, each claimed value styled by its verdict and its p_true."""
    if reading.explanation is None:
        return Text("(no explanation came out)", style="dim")
    if reading.shown is None:
        return Text(f"(abstains: no claim reaches {reading.trust:g})", style="dim")
    words = Text()
    for piece in withheld(reading.pieces()):
        words.append(visible(piece.text), _style(piece))
    if notes := reading.notes():
        words.append(f"{' ' if words else ''}({notes})", "dim")
    return words


def by_families(reading: Reading) -> Text:
    """The claims of a reading, a line a family; what cannot be grouped stands as `explanation` has it."""
    if not reading.claims:
        return explanation(reading)
    words = Text("\n").join(family_line(group) for group in by_family(reading))
    if notes := reading.notes():
        words.append(f"\n({notes})", "dim")
    return words


def family_line(group: Group, *, numbers: bool = False) -> Text:
    """What is said of one family, doubtful claims withheld; `numbers` puts p_true and verdict behind each claim."""
    line = Text.assemble((f"{group.label}: ", "dim"))
    shown = withheld(group.pieces)
    for piece in shown:
        line.append(visible(piece.text), _style(piece))
        known = (probability(piece.p_true), piece.verdict if numbers else "")
        if numbers and any(known):
            line.append(f" ({', '.join(filter(None, known))})", "dim")
    line.append("" if shown else SILENT if not group.claims else GAP, "dim")
    return line


def _style(piece: Piece) -> str:
    return f"{_weight(piece.p_true)} {_VERDICT_STYLE.get(piece.verdict, '')}".strip()


def _trust(reading: Reading) -> Text:
    found = reading.trusted()
    if found is None:
        return Text()
    return Text("/".join(map(probability, found)), style="dim" if doubtful(found[1]) else _weight(found[1]))


def _weight(p_true: float | None) -> str:
    return "bold" if p_true is not None and p_true >= SURE else ""


def _tint(fve: float | None) -> str:
    if fve is None:
        return ""
    return "green" if fve >= 0.75 else "cyan" if fve >= 0.5 else "yellow" if fve >= 0.25 else "red"
