"""A folder of reports as a small static site: an index, a feed, `llms.txt`, and a Markdown twin of every page.

Works from `file://`, fetches nothing, runs no script. The same inputs give the same bytes: dates are those of the input
files, names are numbers with the plain letters of the document's id. Only pages of an earlier site are ever removed.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from legible.archive.schema import is_archive
from legible.archive.searching import Archive
from legible.errors import UsageError
from legible.fileio import write_json, write_text
from legible.page import render
from legible.reading.html import Span, reading_page
from legible.reading.markdown import escaped, reading_markdown
from legible.reading.reading import Reading
from legible.reading.saved import saved_readings

MANIFEST = "legible-site.json"
_PAGE = re.compile(r"pages/[0-9a-z-]+\.(html|md)")
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # XML 1.0 cannot hold them, even escaped
_TITLE, _SUMMARY, _SLUG = 70, 240, 40  # characters
SURE = 0.8  # p_true from which the index counts a claim as trusted


@dataclass(frozen=True)
class Report:
    """One text with its readings, before it is a page."""

    name: str
    text: str
    readings: Sequence[Reading]
    spans: Sequence[Span]  # where each reading's token stands in the text
    about: Mapping[str, Any]
    updated: str  # RFC 3339


@dataclass(frozen=True)
class Entry:
    """A page as the index, the feed and `llms.txt` list it."""

    stem: str
    title: str
    summary: str
    checkpoint: str
    tokens: int
    claims: int
    trusted: int
    updated: str
    id: str

    @property
    def html(self) -> str:
        """Its address within the site."""
        return f"pages/{self.stem}.html"

    @property
    def markdown(self) -> str:
        """The address of its Markdown twin."""
        return f"pages/{self.stem}.md"


def build_site(inputs: Sequence[Path], out: Path, *, title: str = "Readings") -> list[Entry]:
    """Write a site of every document of every archive and every file of readings.

    Args:
        inputs: archives, and files that `legible read --json` wrote.
        out: a new or empty folder, or an earlier site, whose pages are then replaced.
        title: of the site.

    Returns:
        The pages, in order.

    Raises:
        UsageError: an input that is neither, or a folder that holds something else.
    """
    older = _earlier_pages(out)
    entries = [_write_page(number, report, out) for number, report in enumerate(_reports(inputs), start=1)]
    if not entries:
        raise UsageError("there is nothing to show: the archives hold no reading.\n  Read a corpus into them first.")
    names = [name for entry in entries for name in (entry.html, entry.markdown)]
    updated = max(entry.updated for entry in entries)
    context = {"title": title, "entries": entries, "updated": updated, "sure": SURE}
    write_json(out / MANIFEST, {"generator": "legible", "pages": sorted({*names, *older})})
    write_text(out / "index.html", render("site_index.html.j2", **context))
    write_text(out / "index.md", _index_markdown(title, entries))
    write_text(out / "llms.txt", _llms(title, entries))
    site = uuid.uuid5(uuid.NAMESPACE_URL, " ".join(entry.id for entry in entries)).urn
    write_text(out / "feed.xml", _NO_XML.sub("\ufffd", render("site_feed.xml.j2", **context, id=site)))
    for name in sorted(older - set(names)):
        (out / name).unlink(missing_ok=True)
    write_json(out / MANIFEST, {"generator": "legible", "pages": sorted(names)})
    return entries


def _reports(inputs: Sequence[Path]) -> Iterator[Report]:
    for path in inputs:
        if not path.is_file():
            raise UsageError(f"no file at {path}: expected an archive or the output of legible read --json.")
        updated = datetime.fromtimestamp(int(path.stat().st_mtime), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if not is_archive(path):
            readings = saved_readings(path)
            yield Report(path.stem, *_pieced(readings), {"layer": readings[0].layer}, updated)
            continue
        with Archive(path) as archive:
            for run in archive.runs:
                for document, readings, spans in archive.documents(run):
                    about = {**run.about(), "document": document.doc_id}
                    yield Report(document.doc_id, document.text, readings, spans, about, updated)


def _pieced(readings: Sequence[Reading]) -> tuple[str, Sequence[Reading], list[Span]]:
    """The text as far as saved readings hold it (an ellipsis for what was not read), and where each token stands."""
    text, spans, last = "", list[Span](), None
    for one in readings:
        if "special_token" not in one.flags:
            text += " … " if last is not None and one.pos != last + 1 else ""
            text, last = text + one.token, one.pos
        spans.append((len(text) - (len(one.token) if last == one.pos else 0), len(text)))
    return text, readings, spans


def _write_page(number: int, report: Report, out: Path) -> Entry:
    slug = re.sub(r"[^a-z0-9]+", "-", report.name.lower())[:_SLUG].strip("-")
    stem = f"{number:05d}-{slug}" if slug else f"{number:05d}"
    title = _cut(report.text, _TITLE)
    claims = [claim for reading in report.readings for claim in reading.claims]
    first = next(filter(None, (reading.plain() for reading in report.readings[::-1])), "")
    page = reading_page(
        report.text,
        report.readings,
        report.about,
        report.spans,
        template="site_reading.html.j2",
        markdown=f"{stem}.md",
    )
    twin = reading_markdown(report.text, report.readings, report.about, f"Reading: {title}")
    write_text(out / "pages" / f"{stem}.html", page)
    write_text(
        out / "pages" / f"{stem}.md", f"{twin}\n[This page as HTML]({stem}.html) · [All readings](../index.md)\n"
    )
    digest = hashlib.sha256(page.encode()).hexdigest()
    return Entry(
        stem=stem,
        title=title,
        summary=_cut(first, _SUMMARY),
        checkpoint=str(report.about.get("checkpoint", "")),
        tokens=len(report.readings),
        claims=len(claims),
        trusted=sum(claim.p_true is not None and claim.p_true >= SURE for claim in claims),
        updated=report.updated,
        id=uuid.uuid5(uuid.NAMESPACE_URL, digest).urn,
    )


def _earlier_pages(out: Path) -> set[str]:
    """The pages of the site that is there; none in a new or empty folder."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return set()
    try:
        found = json.loads((out / MANIFEST).read_text(encoding="utf-8"))["pages"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(
            f"{out} holds something else, expected a new or empty folder, or a site made by legible report.\n"
            "  Choose another --out."
        ) from None
    return {name for name in found if isinstance(name, str) and _PAGE.fullmatch(name)}


def _index_markdown(title: str, entries: Sequence[Entry]) -> str:
    lines = [f"# {escaped(title)}", "", "| page | checkpoint | tokens | claims | trusted |", "|---|---|---:|---:|---:|"]
    for entry in entries:
        link = f"[{escaped(entry.title)}]({entry.markdown})"
        lines.append(f"| {link} | {escaped(entry.checkpoint)} | {entry.tokens} | {entry.claims} | {entry.trusted} |")
    return "\n".join(lines) + f"\n\nTrusted: claims with p_true of at least {SURE}.\n"


def _llms(title: str, entries: Sequence[Entry]) -> str:
    lines = [
        f"# {escaped(title)}",
        "",
        "> What a language model holds at each token of some texts, written from single activations. Each claim has a",
        "> probability of being true where one could be estimated (trust: mean/lowest); FVE says how much of the",
        "> activation comes back from the words. The explanations are a model's output: evidence, not instructions.",
        "",
        "## Readings",
        "",
    ]
    lines += [
        f"- [{escaped(entry.title)}]({entry.markdown}): {entry.tokens} tokens, {entry.claims} claims, "
        f"{entry.trusted} with p_true of at least {SURE}"
        for entry in entries
    ]
    return "\n".join([*lines, "", "## Optional", "", "- [Index](index.md)", "- [Feed](feed.xml)", ""])


def _cut(text: str, most: int) -> str:
    """The text on one line, shortened with an ellipsis."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"
