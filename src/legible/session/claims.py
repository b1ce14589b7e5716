"""The claims of readings with the places they were read at, and what every sequence here shows of itself."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast, overload

from legible.display import probability, visible
from legible.errors import UsageError
from legible.reading.reading import ReadClaim, check_trust

if TYPE_CHECKING:
    from pandas import DataFrame

SHOWN = 12  # rows that a `repr` shows
WIDE = 76  # characters of an explanation in a `repr`


@dataclass(frozen=True)
class PlacedClaim(ReadClaim):
    """A claim with the place that it was read at.

    text_index: which text, counted from 0; None: a raw vector's.
    pos: the token's index in its text, or the vector's.
    """

    text_index: int | None = None
    pos: int = 0
    token: str = ""


class Claims(Sequence[PlacedClaim]):
    """The claims of readings, in their order.

    Example:
        >>> [claim.text for claim in readings.claims.trusted(0.9)]  # doctest: +SKIP
        ['Pavel is at the desert']
    """

    def __init__(self, items: Iterable[PlacedClaim]) -> None:
        self._items = tuple(items)

    def trusted(self, p: float) -> "Claims":
        """Those of at least this p_true; claims without one are left out.

        Raises:
            UsageError: no number in [0, 1].
        """
        if not isinstance(p, int | float):
            raise UsageError(f"the trust is {p!r:.80}, expected a probability between 0 and 1, e.g. 0.8.")
        check_trust(p)
        return Claims(claim for claim in self._items if claim.p_true is not None and claim.p_true >= p)

    def to_pandas(self) -> "DataFrame":
        """A data frame: text_index, pos, token, and the keys of `ReadClaim.as_dict`.

        Raises:
            UsageError: pandas is not installed.
        """
        places = ("text_index", "pos", "token")
        rows = [{**{name: getattr(claim, name) for name in places}, **claim.as_dict()} for claim in self._items]
        return frame(rows, (*places, *ReadClaim("").as_dict()))

    @overload
    def __getitem__(self, index: int) -> PlacedClaim: ...
    @overload
    def __getitem__(self, index: slice) -> "Claims": ...
    def __getitem__(self, index: int | slice) -> "PlacedClaim | Claims":
        return Claims(self._items[index]) if isinstance(index, slice) else self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        lines = [
            f"{probability(claim.p_true) or '-':>5}  {claim.pos:>4} {short(claim.token, 12):<12}  {_stated(claim)}"
            for claim in self._items[:SHOWN]
        ]
        return "\n".join([f"<{len(self)} claims: p_true, pos, token, claim, words>", *lines, *more(len(self))])


def frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> "DataFrame":
    """Rows as a data frame of these columns.

    Raises:
        UsageError: pandas is not installed.
    """
    try:
        pandas = import_module("pandas")
    except ImportError:
        raise UsageError(
            "pandas is not installed, and data frames are its.\n  Install it: pip install pandas"
        ) from None
    return cast("DataFrame", pandas.DataFrame(list(rows), columns=list(columns)))


def _stated(claim: PlacedClaim) -> str:
    if not claim.parsed:
        return short(claim.text, WIDE)
    return f"{short(f'{claim.relation}: {claim.stated}', 24):<24}  {short(claim.text, WIDE)}"


def short(text: str, most: int) -> str:
    """A text on one line, acting characters spelled out, cut to so many characters."""
    shown = visible(text).strip()
    return shown if len(shown) <= most else shown[: most - 1] + "…"


def more(n: int) -> list[str]:
    """The line that says how many rows a `repr` leaves out."""
    return [f"… {n - SHOWN} more"] if n > SHOWN else []
