"""What a session returns: readings of texts and explanations of vectors, as sequences that show themselves.

A notebook shows the HTML report's own page, in a frame in which no script runs; a terminal a short table.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from legible.display import probability, visible
from legible.errors import UsageError
from legible.reading.checkpoint import OTHER_TARGET
from legible.reading.explained import Explained
from legible.reading.html import missing, reading_page, reasons, write_reading
from legible.reading.reading import Reading
from legible.session.claims import SHOWN, WIDE, Claims, PlacedClaim, frame, more, short

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ("text_index", "pos", "token", "explanation", "fve_token", "p_mean", "p_min", "flags")
"""Of `Readings.to_pandas`."""
_FRAMES = 4  # texts whose reports a notebook shows

Item = TypeVar("Item", bound=Reading)
Own = TypeVar("Own", bound="_Shown[Any]")


class _Shown(Sequence[Item], Generic[Item]):
    """Readings or explanations with what a report says of who read."""

    def __init__(self, items: Iterable[Item], about: Mapping[str, Any]) -> None:
        self._items = tuple(items)
        self.about = dict(about)

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self: Own, index: slice) -> Own: ...
    def __getitem__(self: Own, index: int | slice) -> Item | Own:
        return self._part(range(len(self))[index]) if isinstance(index, slice) else cast(Item, self._items[index])

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Item]:
        return iter(self._items)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self._items == other._items

    __hash__ = None  # type: ignore[assignment]  # a sequence that is compared by its items, as lists are

    @property
    def warning(self) -> str | None:
        """Why the readings may be worth less: the model read is not the one that the pair was trained on; else None."""
        return cast(str | None, self.about.get(OTHER_TARGET))

    @abstractmethod
    def _part(self: Own, rows: Iterable[int]) -> Own:
        """Those of these places, in this order."""

    def _lines(self, heading: str, where: Sequence[str]) -> str:
        lines = [
            f"{place}  {_score(item):>5}  {_trust(item):>9}  {_words(item)}{_flags(item)}"
            for place, item in zip(where, self._items[:SHOWN], strict=False)
        ]
        why = [f"{missing(self)} in {count} of {len(self)}: {short(reason, WIDE)}" for reason, count in reasons(self)]
        warning = [f"warning: {visible(self.warning)}"] if self.warning else []
        return "\n".join([heading, *lines, *more(len(self)), *why, *warning])


class Readings(_Shown[Reading]):
    """Readings, flat, in the order of the texts and of the positions asked for.

    Example:
        >>> reader.read(["Pavel was a fox.", "Mira had a ring."], positions=-1)[1].explanation  # doctest: +SKIP
    """

    def __init__(
        self, items: Iterable[Reading], text_index: Iterable[int], texts: Sequence[str], about: Mapping[str, Any]
    ) -> None:
        super().__init__(items, about)
        self.text_index = tuple(text_index)
        """For each reading which text it is of, counted from 0."""
        self.texts = tuple(texts)

    def of_text(self, index: int) -> "Readings":
        """The readings of one text; `text_index` stays.

        Raises:
            UsageError: there is no such text.
        """
        if not isinstance(index, int) or not 0 <= index < len(self.texts):
            raise UsageError(f"text {index!r:.80} is not there: {len(self.texts)} were read, counted from 0.")
        return self._part(row for row, text in enumerate(self.text_index) if text == index)

    @property
    def claims(self) -> Claims:
        """Every claim with its place; `claims.trusted(0.8)` keeps those of at least this p_true."""
        return Claims(
            PlacedClaim(**vars(claim), text_index=text, pos=item.pos, token=item.token)
            for text, item in zip(self.text_index, self._items, strict=True)
            for claim in item.claims
        )

    def to_pandas(self) -> "DataFrame":
        """A data frame of `COLUMNS`, one row a reading.

        `explanation` holds the words that are shown: under trust= those that it let through, None where none did.
        `p_mean` and `p_min` are the mean and the least p_true of the claims. `flags` is one string, flags separated
        by commas, empty where there are none.

        Raises:
            UsageError: pandas is not installed.
        """
        rows = [
            {"text_index": text, "pos": item.pos, "token": item.token, **_measured(item)}
            for text, item in zip(self.text_index, self._items, strict=True)
        ]
        return frame(rows, COLUMNS)

    def write_html(self, path: str | Path) -> None:
        """Write the report of one text as a self-contained page.

        Raises:
            UsageError: readings of several texts; write each: `readings.of_text(0).write_html(...)`.
        """
        texts = self._read_texts()
        if len(texts) != 1:
            raise UsageError(
                f"these are readings of {len(texts)} texts, and a report is of one.\n"
                "  Write them one by one: readings.of_text(0).write_html('page.html')"
            )
        write_reading(Path(path), self.texts[texts[0]], self._items, self.about)

    def _read_texts(self) -> list[int]:
        return list(dict.fromkeys(self.text_index))

    def _part(self, rows: Iterable[int]) -> "Readings":
        rows = list(rows)
        chosen = [self._items[row] for row in rows]
        return Readings(chosen, [self.text_index[row] for row in rows], self.texts, self.about)

    def _repr_html_(self) -> str:
        read = self._read_texts()
        frames = [_framed(self.texts[text], self.of_text(text), f"Readings of text {text}") for text in read[:_FRAMES]]
        rest = (
            f"<p>… and {len(read) - _FRAMES} more texts: readings.of_text({_FRAMES})</p>" if len(read) > _FRAMES else ""
        )
        return "".join(frames) + rest

    def __repr__(self) -> str:
        several = len(self.texts) > 1
        n = len(self._read_texts())
        heading = (
            f"<{len(self)} readings of {n} text{'s' if n != 1 else ''}, layer {self.about.get('layer')}: "
            f"{'text, ' if several else ''}pos, token, FVE, trust (mean/lowest p_true), explanation>"
        )
        where = [
            (f"{text:>3} " if several else "") + f"{item.pos:>4}  {short(item.token, 12):<12}"
            for text, item in zip(self.text_index[:SHOWN], self._items, strict=False)
        ]
        return self._lines(heading, where)


class Explanations(_Shown[Explained]):
    """What was written of raw vectors, in their order; `pos` is the index of the vector, and claims have no p_true."""

    @property
    def claims(self) -> Claims:
        """Every claim with the index of its vector as `pos`."""
        return Claims(PlacedClaim(**vars(claim), pos=item.pos) for item in self._items for claim in item.claims)

    def to_pandas(self) -> "DataFrame":
        """A data frame: index, explanation, fve_token, norm, flags; one row a vector.

        Raises:
            UsageError: pandas is not installed.
        """
        names = ("index", "explanation", "fve_token", "norm", "flags")
        rows = [{**_measured(item), "index": item.pos, "norm": item.norm} for item in self._items]
        return frame([{name: row[name] for name in names} for row in rows], names)

    def write_html(self, path: str | Path) -> None:
        """Write the report as a self-contained page."""
        write_reading(Path(path), "", self._items, self.about)

    def _part(self, rows: Iterable[int]) -> "Explanations":
        return Explanations([self._items[row] for row in rows], self.about)

    def _repr_html_(self) -> str:
        return _framed("", self, "Explanations of vectors")

    def __repr__(self) -> str:
        heading = f"<{len(self)} explanations, layer {self.about.get('layer')}: vector, FVE, trust, explanation>"
        return self._lines(heading, [f"{item.pos:>4}" for item in self._items[:SHOWN]])


def _measured(item: Reading) -> dict[str, Any]:
    mean, least = item.trusted() or (None, None)
    return {
        "explanation": item.shown,
        "fve_token": item.fve_token,
        "p_mean": mean,
        "p_min": least,
        "flags": ",".join(item.flags),
    }


def _framed(text: str, items: _Shown[Any], title: str) -> str:
    """The report inside another page: its style does not leave the frame, and nothing in it can run."""
    page = reading_page(text, items, items.about, template="reading_cell.html.j2")
    style = f"width:100%;height:{min(40, 24 + 3 * len(items))}rem;border:1px solid #8884;border-radius:6px"
    return f'<iframe sandbox title="{escape(title)}" style="{style}" srcdoc="{escape(page)}"></iframe>'


def _score(item: Reading) -> str:
    return "-" if item.fve_token is None else f"{item.fve_token:.2f}"


def _trust(item: Reading) -> str:
    found = item.trusted()
    return "-" if found is None else "/".join(map(probability, found))


def _flags(item: Reading) -> str:
    return f" [{', '.join(item.flags)}]" if item.flags else ""


def _words(item: Reading) -> str:
    if item.explanation is None:
        return "(no explanation came out)"
    return "(abstains)" if item.shown is None else short(item.plain() or "(doubtful throughout)", WIDE)
