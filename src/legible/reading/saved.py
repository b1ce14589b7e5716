"""Readings that `legible read --json` wrote, read back."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from legible.errors import UsageError
from legible.fileio import decoded, repaired
from legible.reading.reading import ReadClaim, Reading

_CLAIM = ("text", "p_true", "agreement", "leverage", "recurrence")
_VERDICTS = ("true", "false", "open", "abstain", "unknown")
_WORDS = {"verdict": _VERDICTS, "polarity": ("positive", "negative"), "family": ("next", "ahead", "now", "context")}


def saved_readings(path: Path) -> list[Reading]:
    """The readings of a file of JSON lines, in its order.

    Raises:
        UsageError: the file is missing or empty, or a line is no reading.
    """
    if not path.is_file():
        raise UsageError(f"no file at {path}.\n  Make one: legible read builtin TEXT --json > reading.json")
    lines = decoded(path.read_bytes(), path).split("\n")  # not splitlines: a value may hold U+2028
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found.append(reading_of(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{path} line {number} is not a reading ({type(error).__name__}: {error}).\n"
                "  Expected the lines that `legible read --json` prints, or an archive."
            ) from None
    if not found:
        raise UsageError(f"{path} holds no reading.\n  Expected the lines that `legible read --json` prints.")
    return found


def reading_of(row: Mapping[str, Any]) -> Reading:
    """A reading of its `as_dict`; of its claims there is what a trust filter left.

    Of older files `trust` was the filter's threshold, and a claim's relation its `kind`.
    """
    return Reading(
        pos=_whole(row["pos"]),
        token=_text(row["token"]),
        token_id=_whole(row["token_id"]),
        layer=_whole(row["layer"]),
        norm=float(row["norm"]),
        flags=tuple(_text(flag) for flag in row["flags"]),
        explanation=_text_or_none(row["explanation"]),
        direction_mse=_number_or_none(row["direction_mse"]),
        fve_token=_number_or_none(row["fve_token"]),
        floor_fve=_number_or_none(row.get("floor_fve")),
        claims=tuple(_claim(claim) for claim in row["claims"]),
        unparsed=tuple(_text(clause) for clause in row.get("unparsed", [])),
        samples=tuple(
            (_text_or_none(one["explanation"]), _number_or_none(one["direction_mse"])) for one in row.get("samples", [])
        ),
        p_true_reason=_text_or_none(row.get("p_true_reason")),
        trust=_number_or_none(row.get("threshold", None if isinstance(old := row.get("trust"), dict) else old)),
        withheld=_whole(row.get("withheld", 0)),
        kept=_text_or_none(row.get("shown")),
    )


def _claim(row: Mapping[str, Any]) -> ReadClaim:
    words = {name: row[name] for name in _WORDS if name in row}
    for name, word in words.items():
        if word not in _WORDS[name]:
            raise ValueError(f"{name} {word!r}, expected one of {', '.join(_WORDS[name])}")
    relation = row["relation"] if "relation" in row else row["kind"]
    text, *numbers = (row[name] for name in _CLAIM)
    p_true, agreement, leverage, recurrence = map(_number_or_none, numbers)
    return ReadClaim(
        _text(text), _text_or_none(relation), _text_or_none(row["value"]), _text_or_none(row.get("subject")),
        p_true=p_true, agreement=agreement, leverage=leverage, recurrence=recurrence,
        probe=_number_or_none(row.get("probe")), **words,
    )  # fmt: skip


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return repaired(value)


def _text_or_none(value: Any) -> str | None:
    return None if value is None else _text(value)


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a whole number")
    return value


def _number_or_none(value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not a number")
    return float(value)
