"""Text from models and files, made safe to show: no character may act on a terminal or a page unseen.

Escaping for HTML is jinja's work (autoescape); this is the step before it, and the only one for terminals.
"""

import unicodedata

_ACTING = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}  # controls, bidirectional and invisible formats, surrogates, separators


def visible(text: str, *, keep: str = "") -> str:
    r"""The text with every control, ANSI, bidirectional or invisible character spelled out.

    Args:
        text: anything a model or a file wrote.
        keep: acting characters to leave as they are, e.g. newlines inside a block.

    Returns:
        Printable text; tab and newline read `\t` and `\n`, the rest `\x1b` or `\u202e`.

    Example:
        >>> visible("a\x1b[31mb")
        'a\\x1b[31mb'
    """
    return "".join(
        char if char in keep or unicodedata.category(char) not in _ACTING else _spelled(char) for char in text
    )


def probability(p_true: float | None) -> str:
    """Two digits, rounded down: nothing is shown as certain. Empty where there is none."""
    return "" if p_true is None else f"{int(p_true * 100) / 100:.2f}"


def size(count: int) -> str:
    """Bytes for people, in powers of 1000.

    Example:
        >>> size(15_237_000_000), size(900)
        ('15.2 GB', '900 bytes')
    """
    for unit, one in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= one:
            return f"{count / one:.1f} {unit}"
    return f"{count} bytes"


def _spelled(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
