"""Which tokens of a text are read: the `--positions` language.

`all` · `7` · `-1` (the last) · `4:9`, `:9`, `-5:`, `::4` as in Python · several, separated by commas.
"""

import re

from legible.errors import UsageError

_NUMBER = re.compile(r"-?\d+")
_SLICE = re.compile(r"(-?\d+)?:(-?\d+)?(?::(\d+))?")


def parse_positions(spec: str, n: int, *, partial: bool = False) -> list[int]:
    """Token positions named by a spec.

    Args:
        spec: see the module.
        n: tokens of the text, special tokens counted.
        partial: leave out tokens that are not there instead of refusing them; there may be none left.

    Returns:
        Ascending indices in [0, n), each once.

    Raises:
        UsageError: the spec is not one, names a token that is not there, or names none.

    Example:
        >>> parse_positions("0,4:6,-1", 10)
        [0, 4, 5, 9]
    """
    if spec.strip() == "all":
        return list(range(n))
    found: set[int] = set()
    for part in spec.split(","):
        found.update(_part(part.strip(), n, spec, partial))
    return sorted(found)


def _part(part: str, n: int, spec: str, partial: bool) -> list[int]:
    if _NUMBER.fullmatch(part):
        position = int(part)
        if not -n <= position < n:
            if partial:
                return []
            raise UsageError(
                f"position {position} is out of range: the text has {n} tokens, so {-n} to {n - 1} are there.\n"
                "  Special tokens count; see them all with --positions all."
            )
        return [position % n]
    match = _SLICE.fullmatch(part)
    if match is None or match[3] == "0":
        raise UsageError(
            f"positions {spec!r} are not understood: expected 'all', '-1', '3,5' or a slice such as '4:9'."
        )
    start, stop, step = (int(value) if value else None for value in match.groups())
    for bound in (start, stop):
        if bound is not None and not partial and not -n <= bound <= n:
            raise UsageError(f"position {bound} in {part!r} is out of range: the text has {n} tokens.")
    chosen = list(range(n))[start:stop:step]
    if not chosen and not partial:
        raise UsageError(f"{part!r} names no token: the text has {n} tokens, counted from 0.")
    return chosen
