"""Which tokens of a text are read: the `--positions` language, and what stands for it in Python.

`all` · `7` · `-1` (the last) · `4:9`, `:9`, `-5:`, `::4` as in Python · several, separated by commas.
"""

import re
from collections.abc import Sequence
from numbers import Integral

from legible.errors import UsageError

Positions = str | int | Sequence[int] | slice
"""A spec, an index, several of them, or a slice."""

_NUMBER = re.compile(r"-?\d+")
_SLICE = re.compile(r"(-?\d+)?:(-?\d+)?(?::(\d+))?")


def chosen_positions(positions: Positions, n: int) -> list[int]:
    """Token positions named by a spec, an index, a list of indices or a slice.

    Args:
        positions: a spec gives ascending positions, a list or an array those in its own order, a slice what it gives of
            any list: bounds beyond the text are allowed.
        n: tokens of the text, special tokens counted.

    Returns:
        Indices in [0, n), each once.

    Raises:
        UsageError: something else, a token that is not there, or no token at all.

    Example:
        >>> chosen_positions([1, -1], 10), chosen_positions(slice(-2, None), 10)
        ([1, 9], [8, 9])
    """
    if isinstance(positions, str):
        return parse_positions(positions, n)
    if hasattr(positions, "tolist"):  # of an array or a tensor
        positions = positions.tolist()
    if isinstance(positions, slice):
        chosen = _sliced(positions, n)
    elif isinstance(positions, int) and not isinstance(positions, bool):
        chosen = parse_positions(str(positions), n)
    elif isinstance(positions, Sequence) and not isinstance(positions, bytes) and _indices(positions):
        chosen = [parse_positions(str(int(position)), n)[0] for position in positions]
    else:
        raise UsageError(
            f"positions is {positions!r:.80}, expected 'all', an index such as -1, a list of indices such as [1, -1], "
            "a slice, or a string such as '4:9'."
        )
    if not chosen:
        raise UsageError(f"positions {positions!r} name no token: the text has {n} tokens, counted from 0.")
    return list(dict.fromkeys(chosen))


def _indices(positions: Sequence[object]) -> bool:
    return all(isinstance(position, Integral) and not isinstance(position, bool) for position in positions)


def _sliced(positions: slice, n: int) -> list[int]:
    try:
        return list(range(n))[positions]
    except (TypeError, ValueError) as error:
        raise UsageError(f"positions {positions!r} are no slice of tokens: {error}.") from None


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
                "  Special tokens count; positions 'all' shows every one."
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
