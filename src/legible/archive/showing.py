"""What a search found, as tables in the terminal; every string of a model or a corpus is made visible first.

Doubtful claims are withheld and counted, as in the table of a reading.
"""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from legible.archive.found import Count, Hit
from legible.display import probability, visible
from legible.reading.doubt import DOUBTFUL, doubtful, doubtful_claims
from legible.reading.marks import GAP, pieces

CONTEXT = 24  # characters of the text shown on either side of the token


def print_hits(hits: Sequence[Hit], console: Console | None = None) -> None:
    """One row a hit: where, the token in its text, the words with their matches marked, trust, FVE and flags."""
    console = console or Console()
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("document:pos", overflow="fold", max_width=24)
    table.add_column("token in its text", overflow="fold", ratio=2)
    table.add_column("found", overflow="fold", ratio=3)
    table.add_column("p_true", justify="right", no_wrap=True)
    table.add_column("FVE", justify="right", no_wrap=True)
    table.add_column("flags", max_width=16, overflow="fold")
    withheld = sum(doubtful(p_true) for hit in hits for *_, p_true in hit.claims)
    for hit in hits:
        if not hit.claims and doubtful(hit.p_true):  # a single claim
            withheld += 1
            continue
        place = Text.assemble(
            (visible(hit.before[-CONTEXT:]), "dim"), (visible(hit.token), "bold"), (visible(hit.after[:CONTEXT]), "dim")
        )
        table.add_row(
            Text(f"{visible(hit.doc_id)}:{hit.pos}"),
            place,
            _marked(hit),
            probability(hit.p_true),
            "" if hit.fve_token is None else f"{hit.fve_token:.2f}",
            Text(" ".join(hit.flags), style="yellow"),
        )
    console.print(table)
    console.print(Text(f"{len(hits)} found; p_true of an explanation is that of its least trusted claim", style="dim"))
    if withheld:
        console.print(
            Text(f"{doubtful_claims(withheld)} withheld, p_true below {DOUBTFUL}: --json has them", style="dim")
        )


def print_counts(counts: Sequence[Count], console: Console | None = None) -> None:
    """One row per claim or relation, the most frequent first."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, side in (("relation", "left"), ("value", "left"), ("claims", "right"), ("readings", "right"),
                       ("documents", "right"), ("mean p_true", "right")):  # fmt: skip
        table.add_column(name, justify=side, overflow="fold")  # type: ignore[arg-type]
    for count in counts:
        table.add_row(
            Text(visible(count.relation or "")),
            Text(("not " if count.polarity == "negative" else "") + visible(count.value or "")),
            *(str(number) for number in (count.claims, count.readings, count.documents)),
            probability(count.p_true),
        )
    (console or Console()).print(table)


def _marked(hit: Hit) -> Text:
    """The words with the matches in bold, and a gap for each doubtful claim."""
    words = Text()
    at = 0
    for piece in pieces(hit.text, hit.claims):
        start, at = at, at + len(piece.text)
        if piece.doubtful:
            words.append(GAP, "dim")
            continue
        for first, last in hit.spans:
            first, last = max(first, start), min(last, at)
            if first < last:
                words.append(visible(hit.text[start:first])).append(visible(hit.text[first:last]), "bold reverse")
                start = last
        words.append(visible(hit.text[start:at]))
    return words
