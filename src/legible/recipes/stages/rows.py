"""The stages that make training rows: activations, and the teacher's text for them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from legible import languages
from legible.config import AUTO, CaptureConfig, Placement, TeachConfig
from legible.data.capture import Progress, capture, store_header
from legible.data.store import Store
from legible.data.writer import store_identity
from legible.documents import Document
from legible.engines.continuations import speaker
from legible.errors import UsageError
from legible.evaluate.sample import Sample
from legible.identity import Identity, claim, finish
from legible.languages.base import Language
from legible.models.memory import FLOAT, Size, check_memory
from legible.models.reconstructor import Reconstructor
from legible.models.roles import weights_sha256
from legible.models.target import Target
from legible.probes.lookup import TokenLookup
from legible.probes.probes import ProbeSet
from legible.recipes.limits import keep_by_leverage, limiting_reconstructor
from legible.teachers import make_teacher, teach
from legible.teachers.base import count_taught
from legible.teachers.limit import keep_from_probes

FIT_ROWS = 20_000  # rows that fit probes and lookups
CHUNK = 4096  # rows in memory at once
TRANSPORT = {"concurrency", "retries", "timeout"}  # how a teacher is asked, which changes no text


@dataclass(frozen=True)
class Capture:
    """Store the target's activations on the documents."""

    target: Target
    documents: Sequence[Document]
    config: CaptureConfig

    def identity(self) -> Identity:
        """What the store depends on beside the documents, whose digest stands in its manifest."""
        return store_identity(store_header(self.target, self.config))

    def run(self, out: Path, progress: Progress | None = None) -> Store:
        """The store in `out`, captured now or before; an unfinished one is resumed.

        Raises:
            UsageError: no document was long enough to read a token from, or `out` holds something else.
        """
        tokens = self.config.batch_tokens
        fewer = [(f"--batch-tokens {n}", self.bytes(n)) for n in (tokens // 2, tokens // 4, tokens // 8) if n]
        check_memory(f"capturing with --batch-tokens {tokens}", self.bytes(tokens), self.target.device, fewer)
        said = speaker(self.target, self.config)
        store = capture(self.target, self.documents, self.config, out, progress=progress, speaker=said)
        if not len(store):
            raise UsageError(
                f"none of {len(self.documents)} documents has a token at position {self.config.min_pos} or later.\n"
                "  The usual cause is short texts. Lower it: --min-pos, or --set capture.min_pos=N"
            )
        return store

    def bytes(self, tokens: int) -> int:
        """Memory that a batch of so many tokens needs, and the vectors of one shard."""
        size, each = Size.of(self.target.model), self.target.arch.embedding.weight.dtype.itemsize
        rows = self.config.shard_rows + self.config.positions_per_doc
        return size.forward(tokens, each) + FLOAT * size.width * len(self.config.layers) * (2 * tokens + rows)


def fit_lookup(store: Store, layer: int, out: Path) -> TokenLookup:
    """The token lookup of a training store, fitted once and kept at `out`."""
    if not out.exists():
        sample = Sample.of_store(store, layer, None, limit=FIT_ROWS)
        TokenLookup.fit(sample.vectors, sample.columns, sample.doc_ids).save(out)
    return TokenLookup.load(out)


def probes_file(teach_file: Path) -> Path:
    """Where the probes that limited a teacher's text lie, if it was limited outside of a run."""
    return teach_file.with_suffix(".probes.safetensors")


@dataclass(frozen=True)
class Teach:
    """Let a teacher explain every row of a store.

    config: who writes, and whether limited to what probes or a reconstructor find.
    layer: whose activations limit the teacher.
    language: whose facts the probes name; absent: the teacher's own.
    probes: where the probes fitted for a limited teacher are kept; absent: beside the text.
    place: where the reconstructor lies that limits a teacher by leverage.
    """

    store: Store
    config: TeachConfig
    layer: int | None = None
    language: str | None = None
    probes: Path | None = None
    place: Placement = AUTO

    def identity(self) -> Identity:
        """What the text depends on."""
        parts: dict[str, Any] = {
            "teach": self.config.model_dump(mode="json", exclude=TRANSPORT),
            "store": self.store.sha256,
        }
        if self.config.limit != "none":
            parts |= {"layer": self.layer, "language": self.language}
        if self.config.limit == "leverage":
            parts["limit_by"] = weights_sha256(self._limiter)
        return Identity("teach", parts, beside=True)

    def run(self, out: Path, progress: Callable[[int, int], None] | None = None) -> dict[str, int]:
        """The text in the file `out`, written now or before; unfinished work is resumed.

        Args:
            out: the teacher's file.
            progress: called with (rows done, rows).

        Returns:
            Counts of written and refused rows.

        Raises:
            UsageError: an unknown teacher, a limited one without layer or language, or `out` holds something else.
        """
        teacher = make_teacher(self.config, cache=out.parent / "cache.sqlite")
        identity, speaks = self.identity(), self._limiting_language()
        claimed = claim(out, identity)
        if claimed == "finished":
            return count_taught(out)
        keep = None
        if speaks is not None and self.layer is not None:
            path = self.probes or probes_file(out)
            if claimed == "new":
                path.unlink(missing_ok=True)  # those of another store or layer
            keep = _kept_by_probes(self.store, self.layer, speaks, self.config, path)
        elif self.config.limit == "leverage":
            parts = out.with_suffix(".leverage") / identity.digest
            keep = keep_by_leverage(self.store, teacher, self._limiter, self.config, parts)
        counts = teach(self.store, teacher, out, keep=keep, progress=progress)
        finish(out, identity)
        return counts

    @cached_property
    def _limiter(self) -> Reconstructor:
        return limiting_reconstructor(self.store, self.layer, self.config, self.place)

    def _limiting_language(self) -> Language | None:
        """Whose facts limit the teacher, where probes do."""
        if self.config.limit != "probes":
            return None
        own = self.config.teacher if self.config.teacher in languages.names() else None
        named = self.language or own
        if self.layer is None or named is None:
            raise UsageError(
                "a teacher limited by probes needs the layer they read and a language whose facts they name.\n"
                "  Give --layer, and --teacher world or text."
            )
        return languages.get(named)


def _kept_by_probes(store: Store, layer: int, language: Language, config: TeachConfig, path: Path) -> list[set[str]]:
    if not path.exists():
        sample = Sample.of_store(store, layer, language, limit=FIT_ROWS)
        probes = ProbeSet.fit(
            sample.vectors,
            sample.labels(language),
            sample.doc_ids,
            seed=config.seed,
            most_values=language.most_values,
        )
        probes.save(path)
    fitted = ProbeSet.load(path)
    keep: list[set[str]] = []
    for start in range(0, len(store), CHUNK):
        chunk = range(start, min(start + CHUNK, len(store)))
        rows = list(store.rows(chunk))
        keep += keep_from_probes(fitted, store.vectors(chunk, layer), rows, language, threshold=config.threshold)
    return keep
