"""What an instrument is: a reader of stored activations that yields claims with a score, so that all are judged alike.

An instrument may own weights and options. It is made from an opened model and what is known of other documents
(`Setting`), by its `Offer`: one file of this folder, one entry of the register. Its training, where it has one, is
`legible.train.instruments.NAME`. Floors, references and rivals are all instruments; the role says which.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from jaxtyping import Float
from torch import Tensor

from legible.config import USUAL, InstrumentConfig
from legible.errors import UsageError
from legible.languages.base import Claim, Fact, Language, Row
from legible.models.target import Target
from legible.probes.lookup import TokenLookup
from legible.probes.probes import ProbeSet
from legible.probes.ridge import TokenColumns

BATCH = 64  # vectors in one forward pass
Role = Literal["floor", "reference", "rival"]


@dataclass(frozen=True)
class Scored:
    """A claim and how sure the instrument is of it: higher is surer; None where it does not say."""

    claim: Claim
    score: float | None


@dataclass(frozen=True)
class Said:
    """What an instrument makes of one activation.

    text: as it is shown; None where nothing came out.
    claims: in a language; no claim twice, and of a kind that has one value at a time the surest alone.
    words: what a reconstructor may read of it; None: there is nothing of that sort.
    """

    text: str | None
    claims: tuple[Scored, ...] = ()
    words: str | None = None


@dataclass(frozen=True)
class Needs:
    """What it took to make an instrument.

    labels: rows whose facts were known to it (or whose text a teacher wrote).
    texts: documents that it was fitted on.
    train_cpu_s: CPU seconds of its training; None where they were not measured.
    """

    labels: int = 0
    texts: int = 0
    train_cpu_s: float | None = 0.0


class Rows(Protocol):
    """Captured rows with what is known of them; `legible.evaluate.sample.Sample` is such."""

    @property
    def vectors(self) -> Float[Tensor, "n d_model"]:
        """Raw activations, float32."""
        ...

    @property
    def rows(self) -> Sequence[Row]:
        """Where each was read."""
        ...

    @property
    def facts(self) -> Sequence[Mapping[str, Fact]]:
        """What holds of each; empty where no language knows."""
        ...

    @property
    def doc_ids(self) -> list[str]:
        """The document of each."""
        ...

    @property
    def columns(self) -> TokenColumns:
        """Tokens and positions."""
        ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Setting:
    """What an instrument may be made from; one that lacks what it needs says so when it is made.

    language: claims are in; None: there are no claims.
    weights: the file, or folder, that its training saved.
    others: rows of other documents than those that will be read, with their facts.
    probes, lookup: fitted on such rows.
    config: of a training.
    """

    target: Target
    layer: int
    language: Language | None = None
    weights: Path | None = None
    others: Rows | None = None
    probes: ProbeSet | None = None
    lookup: TokenLookup | None = None
    seed: int = 0
    config: InstrumentConfig = USUAL


class Instrument(ABC):
    """Reads activations of one layer of one target.

    name: as `--method` and reports spell it.
    calibrated: its scores estimate the probability that the claim is true.
    """

    name: str
    calibrated: bool = False
    target: Target
    layer: int
    _needs: Needs = Needs()

    @abstractmethod
    def read(self, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row] = ()) -> list[Said]:
        """What it makes of each vector, whichever others stand beside it.

        Args:
            vectors: raw activations of `layer`, float32.
            rows: where each was read, for instruments that look at the text.

        Raises:
            UsageError: vectors of another width, rows missing that are needed, or a prompt that does not fit the
                target's context.
        """

    def reconstruct(
        self, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row] = ()
    ) -> Float[Tensor, "n d_model"] | None:
        """What it gives back of each activation, any scale; None where it gives nothing back by itself."""
        return None

    @property
    def needs(self) -> Needs:
        """What it took to make it."""
        return self._needs


@dataclass(frozen=True)
class Offer:
    """How the register knows an instrument.

    name: as `--method` and reports spell it.
    what: what it is, for tables.
    role: a floor to clear, a reference to compare with, or a rival.
    rules_out: the doubt that the pair's readings rule out by doing better.
    make: from a setting.
    trained: it needs a file of weights that `legible.train.instruments` makes.
    folder: that is a folder, not one file.
    alone: a model is enough for it, with those weights; else it needs a pair, or rows of other documents.
    labelled: its training needs rows whose facts a language knows.
    """

    name: str
    what: str
    role: Role
    rules_out: str
    make: Callable[[Setting], Instrument]
    trained: bool = False
    folder: bool = False
    alone: bool = True
    labelled: bool = False


def check_width(target: Target, vectors: Float[Tensor, "n d_model"]) -> None:
    """Refuse vectors of another model.

    Raises:
        UsageError: another width than the target's.
    """
    if vectors.ndim != 2 or vectors.shape[1] != target.d_model:
        raise UsageError(
            f"vectors have shape {tuple(vectors.shape)}, expected [n, {target.d_model}].\n"
            f"  The usual cause is an activation of another model than {target.name}."
        )


def check_rows(name: str, vectors: Float[Tensor, "n d_model"], rows: Sequence[Row]) -> None:
    """Refuse vectors whose rows are not given, for an instrument that looks at the text.

    Raises:
        UsageError: another number of rows than of vectors, or none.
    """
    if len(rows) != len(vectors) or not len(rows):
        raise lacking(name, "the row of every vector", "Read a text, special tokens left out, or rows of a store.")


def lacking(name: str, what: str, how: str) -> UsageError:
    """The refusal of an instrument that was not given what it needs."""
    return UsageError(f"{name} needs {what}, and none was given.\n  {how}")


def trained_file(setting: Setting, name: str, what: str, command: str) -> Path:
    """The file, or folder, that an instrument's training saved.

    Args:
        setting: names it, as `weights`.
        name: the instrument's.
        what: it is, for the message.
        command: that makes one.

    Raises:
        UsageError: it is not given.
    """
    if setting.weights is None:
        raise lacking(name, what, f"Train one, then give it with --weights: {command}")
    return setting.weights


def check_trained_on(path: Path, layer: int, width: int, target: Target, expected: int) -> None:
    """Refuse weights that were trained on another layer, or on a model of another width.

    Args:
        path: where they lie.
        layer, width: theirs.
        target, expected: the model that is read, and its layer.

    Raises:
        UsageError: either differs.
    """
    if layer != expected or width != target.d_model:
        raise UsageError(
            f"{path} is of layer {layer} and width {width}, expected layer {expected} and width {target.d_model}.\n"
            "  The usual cause is a file of another model or layer."
        )


def listed(claims: Sequence[Scored]) -> str | None:
    """Claims on one line, the surest first: `mood sad 0.93, place barn 0.88`; None without any."""
    order = sorted(claims, key=lambda one: -(one.score if one.score is not None else 1.0))
    shown = [
        f"{one.claim.relation} {one.claim.stated}" + ("" if one.score is None else f" {one.score:.2f}") for one in order
    ]
    return ", ".join(shown) or None


def value_claim(language: Language, kind: str, value: str) -> Claim:
    """The claim that gives a kind of the language's usual subject a value."""
    return Claim("", kind, value, language.subjects.get(kind), family=language.families.get(kind, "context"))


def shares_of(language: Language, facts: Sequence[Mapping[str, Fact]]) -> tuple[Scored, ...]:
    """What rows have in common: of every kind the most frequent value, with the share of the rows that hold it.

    Of kinds that have several values at a time as many as its teacher states. Rows that leave a kind open count, those
    where it is not decided do not. Values that the teacher leaves unsaid are no claims.
    """
    found = []
    for kind in language.kinds:
        decided = [row[kind] for row in facts if kind in row]
        counts = Counter(value for fact in decided if fact.status != "open" for value in fact.values)
        best = counts.most_common(language.stated.get(kind, 1) if kind in language.list_kinds else 1)
        found += [
            Scored(value_claim(language, kind, value), count / len(decided))
            for value, count in best
            if value != language.unsaid.get(kind)
        ]
    return tuple(found)


def claims_in(language: Language | None, text: str | None) -> tuple[Scored, ...]:
    """The claims that a language reads in a text, each once, without scores."""
    if language is None or text is None:
        return ()
    return tuple(Scored(claim, None) for claim in {claim.key: claim for claim in language.parse(text).claims}.values())
