"""Two runs compared on the same tokens of the same documents: two checkpoints, or two targets under one checkpoint.

Readings are paired where document (id and text), position and token text are the same. Two claims are the same where
subject, relation, value and polarity are, or the words where no language parsed them; a claim that something is unknown
claims nothing and is left out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from legible.archive.found import ArchivedRun
from legible.archive.searching import Archive
from legible.display import probability
from legible.errors import UsageError
from legible.languages.base import ClaimKey
from legible.page import write_page
from legible.reading.doubt import doubtful, doubtful_claims
from legible.reading.reading import ReadClaim, Reading, check_trust
from legible.stats import Interval, ratio_interval, share_interval

TOP = 10  # claims listed for each side and kind of difference


@dataclass(frozen=True)
class BothReadings:
    """The readings of one token by both sides."""

    document: str  # its id and, on the lines after, its text
    a: Reading
    b: Reading

    @property
    def at(self) -> str:
        """Where it stands: document and position."""
        return f"{self.document.splitlines()[0]}:{self.a.pos}"


def open_pair(
    archive_a: Path, archive_b: Path | None, a: str | None, b: str | None
) -> tuple[Archive, ArchivedRun, Archive, ArchivedRun]:
    """The two sides of a comparison.

    Args:
        archive_a, archive_b: the archives; None: both sides are in the first.
        a, b: each side's run, see `Archive.run`; needed where an archive holds several.

    Raises:
        UsageError: no such archive or run, or twice the same run.
    """
    first = Archive(archive_a)
    second = first if archive_b is None else Archive(archive_b)
    run_a, run_b = first.run(a), second.run(b)
    if second.path.samefile(first.path) and run_a.id == run_b.id:
        there = "".join(f"\n  {run}" for run in first.runs)
        raise UsageError(
            f"both sides are run {run_a.id} of {first.path}: nothing differs. Name two with --a and --b:{there}"
        )
    return first, run_a, second, run_b


def diff(
    archive_a: Path,
    archive_b: Path | None = None,
    *,
    a: str | None = None,
    b: str | None = None,
    min_trust: float | None = None,
    top: int = TOP,
) -> dict[str, Any]:
    """Compare two runs.

    Args:
        archive_a, archive_b, a, b: see `open_pair`.
        min_trust: compare only claims of at least this p_true.
        top: claims listed on each side.

    Returns:
        `a`, `b` (who read), `differs` (what of that is not the same: by name A's and B's), `documents`, `tokens`
        (paired), `only_a`, `only_b` (tokens read by one side alone), `agreement` (shared claims above all claims of
        either side; with interval over documents), `kept` (share of A's claims that B makes), `fve_a`, `fve_b`,
        `fve_difference` (B - A, paired), `kinds` (per relation: `shared`, `a`, `b`, `agreement`), `claims_only_a`,
        `claims_only_b` (most frequent first: `subject`, `relation`, `value`, `polarity`, `tokens`, `documents`,
        `p_true`, and `at`, the first such token as document:position).

    Raises:
        UsageError: no such archive or run, or no token that both sides read.
    """
    check_trust(min_trust)
    first, run_a, second, run_b = open_pair(archive_a, archive_b, a, b)
    with first, second:
        pairs, only_a, only_b = paired(first, run_a, second, run_b)
    if not pairs:
        raise UsageError(
            f"the two sides share no token: {only_a} readings only in A, {only_b} only in B.\n"
            "  Read the same corpus with the same positions into both."
        )
    return {
        "a": {**run_a.about(), "archive": str(archive_a), "run": run_a.id},
        "b": {**run_b.about(), "archive": str(archive_b or archive_a), "run": run_b.id},
        "differs": differences(run_a, run_b),
        "min_trust": min_trust,
        "documents": len({pair.document for pair in pairs}),
        "tokens": len(pairs),
        "only_a": only_a,
        "only_b": only_b,
        **compare(pairs, min_trust, top),
    }


def differences(a: ArchivedRun, b: ArchivedRun) -> dict[str, list[Any]]:
    """What the two sides do not share, by name: A's and B's; of hashes the first digits."""
    names = {"weights": "fingerprint", "target": "target_sha256", "layer": "layer", "samples": "samples",
             "temperature": "temperature", "seed": "seed", "calibrator": "calibrator"}  # fmt: skip
    sides = {name: [getattr(side, field) for side in (a, b)] for name, field in names.items()}
    return {
        name: [one[:8] if isinstance(one, str) else one for one in both]
        for name, both in sides.items()
        if both[0] != both[1]
    }


def paired(
    first: Archive, run_a: ArchivedRun, second: Archive, run_b: ArchivedRun
) -> tuple[list[BothReadings], int, int]:
    """The tokens that both sides read, and how many each read alone."""
    theirs = {(doc.doc_id, doc.text): readings for doc, readings, _ in second.documents(run_b)}
    pairs: list[BothReadings] = []
    read_a = 0
    for document, readings, _ in first.documents(run_a):
        read_a += len(readings)
        others = {(one.pos, one.token): one for one in theirs.get((document.doc_id, document.text), [])}
        name = f"{document.doc_id}\n{document.text}"
        mine = [(one, others.get((one.pos, one.token))) for one in readings]
        pairs += [BothReadings(name, one, other) for one, other in mine if other is not None]
    return pairs, read_a - len(pairs), sum(map(len, theirs.values())) - len(pairs)


def compare(pairs: Sequence[BothReadings], min_trust: float | None = None, top: int = TOP) -> dict[str, Any]:
    """What differs between the sides of each pair; see `diff`."""
    claims = [(_claims(pair.a, min_trust), _claims(pair.b, min_trust)) for pair in pairs]
    documents = [pair.document for pair in pairs]
    shared = [len(mine.keys() & theirs.keys()) for mine, theirs in claims]
    either = [len(mine.keys() | theirs.keys()) for mine, theirs in claims]
    found: dict[str, Any] = {
        "agreement": share_interval(shared, either, documents).as_dict(),
        "kept": share_interval(shared, [len(mine) for mine, _ in claims], documents).as_dict(),
    }
    scored = [pair for pair in pairs if pair.a.fve_token is not None and pair.b.fve_token is not None]
    names = [pair.document for pair in scored]
    fve_a, fve_b = ([getattr(pair, side).fve_token for pair in scored] for side in ("a", "b"))
    ones = [1.0] * len(scored)
    found["fve_a"] = ratio_interval(fve_a, ones, names).as_dict()
    found["fve_b"] = ratio_interval(fve_b, ones, names).as_dict()
    found["fve_difference"] = ratio_interval(
        [after - before for before, after in zip(fve_a, fve_b, strict=True)], ones, names
    ).as_dict()
    return found | {
        "kinds": _kinds(claims),
        "claims_only_a": _missing([(mine, theirs) for mine, theirs in claims], pairs, top),
        "claims_only_b": _missing([(theirs, mine) for mine, theirs in claims], pairs, top),
    }


def diff_lines(report: Mapping[str, Any]) -> list[str]:
    """The comparison as lines to print; model-written strings are the caller's to make visible."""
    a, b = report["a"], report["b"]
    lines = [
        f"A: {a['checkpoint']}, target {a['target']}, layer {a['layer']}",
        f"B: {b['checkpoint']}, target {b['target']}, layer {b['layer']}",
        _differing(report["differs"]),
        f"{report['tokens']} tokens of {report['documents']} documents read by both; {report['only_a']} by A alone, "
        f"{report['only_b']} by B alone",
        f"claims shared by both, of all claims of either: {shown(report['agreement'])}",
        f"A's claims that B makes too:                   {shown(report['kept'])}",
        f"FVE of A {shown(report['fve_a'])}, of B {shown(report['fve_b'])}, B - A {shown(report['fve_difference'])}",
        "",
        f"{'kind':<16}{'shared':>8}{'only A':>8}{'only B':>8}{'agreement':>11}",
    ]
    for kind, row in report["kinds"].items():
        lines.append(f"{kind:<16}{row['shared']:>8}{row['a']:>8}{row['b']:>8}{row['agreement']:>11.2f}")
    for side in "ab":
        lines += ["", f"claims that only {side.upper()} makes, by tokens:"] if report[f"claims_only_{side}"] else []
        told = [claim for claim in report[f"claims_only_{side}"] if not doubtful(claim["p_true"])]
        for claim in told:
            trust = "" if claim["p_true"] is None else f", mean p_true {probability(claim['p_true'])}"
            denied = "not " if claim["polarity"] == "negative" else ""
            what = f"{claim['relation']}: {denied}{claim['value']}" if claim["relation"] else claim["value"]
            lines.append(f"  {claim['tokens']:>5}  {what}  (first at {claim['at']}{trust})")
        withheld = doubtful_claims(len(report[f"claims_only_{side}"]) - len(told))
        lines += [f"  and {withheld}: --html shows them struck through"] if withheld else []
    return lines


def _differing(differs: Mapping[str, Sequence[Any]]) -> str:
    if not differs:
        return "A and B have the same weights, target, layer, sampling and calibrator; two runs of one reader."
    return "They differ in " + ", ".join(f"{name} (A {a}, B {b})" for name, (a, b) in differs.items()) + "."


def write_diff(path: Path, report: Mapping[str, Any]) -> None:
    """The comparison as a self-contained HTML page, written atomically."""
    write_page(path, "diff.html.j2", report=report, doubtful=doubtful)


def shown(value: Mapping[str, Any]) -> str:
    """`0.71 [0.69, 0.73]`, or a dash where nothing could be measured."""
    found = Interval(**value)
    return "–" if found.value != found.value else f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _claims(reading: Reading, min_trust: float | None) -> dict[ClaimKey, ReadClaim]:
    """The claims of a reading that claim something and are trusted enough."""
    return {
        claim.key: claim
        for claim in reading.claims
        if not claim.abstains and (min_trust is None or (claim.p_true is not None and claim.p_true >= min_trust))
    }


def _kinds(claims: Sequence[tuple[dict[ClaimKey, ReadClaim], dict[ClaimKey, ReadClaim]]]) -> dict[str, dict[str, Any]]:
    """Claims of each relation: shared, only in A, only in B; claims without one under `text`."""
    counts: dict[str, Counter[str]] = {}
    for mine, theirs in claims:
        for key in sorted(mine.keys() | theirs.keys(), key=str):
            where = "shared" if key in mine and key in theirs else "a" if key in mine else "b"
            counts.setdefault(key[1] or "text", Counter())[where] += 1
    ordered = sorted(counts.items(), key=lambda item: (-(item[1]["a"] + item[1]["b"]), item[0]))
    return {
        kind: {side: found[side] for side in ("shared", "a", "b")} | {"agreement": found["shared"] / found.total()}
        for kind, found in ordered
    }


def _missing(
    claims: Sequence[tuple[dict[ClaimKey, ReadClaim], dict[ClaimKey, ReadClaim]]],
    pairs: Sequence[BothReadings],
    top: int,
) -> list[dict[str, Any]]:
    """The first side's claims that the second does not make at the same token, the most frequent first."""
    found: dict[ClaimKey, list[tuple[BothReadings, float | None]]] = {}
    for (mine, theirs), pair in zip(claims, pairs, strict=True):
        for key in mine.keys() - theirs.keys():
            found.setdefault(key, []).append((pair, mine[key].p_true))
    rows = []
    for (subject, relation, value, polarity), places in sorted(
        found.items(), key=lambda item: (-len(item[1]), str(item[0]))
    )[:top]:
        known = [p for _, p in places if p is not None]
        rows.append({
            "subject": subject,
            "relation": relation,
            "value": value,
            "polarity": polarity,
            "tokens": len(places),
            "documents": len({pair.document for pair, _ in places}),
            "p_true": sum(known) / len(known) if known else None,
            "at": places[0][0].at,
        })  # fmt: skip
    return rows
