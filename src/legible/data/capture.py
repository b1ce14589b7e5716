"""Capture: run a target over documents and store its activations at sampled tokens.

Documents are read in order and gathered until their rows fill a shard; a shard's documents are then batched by
length. Which documents share a shard or a batch depends only on the documents and the configuration, so a killed
capture resumes after its last whole shard, to the same bytes as an unbroken one.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from legible.config import CaptureConfig
from legible.data.format import StoreHeader
from legible.data.forward import Passage, Speaker, read
from legible.data.positions import sample_positions, sentence_end_tokens
from legible.data.predictions import token_texts
from legible.data.store import Store
from legible.data.writer import StoreWriter
from legible.documents import Document
from legible.errors import UsageError
from legible.labels import to_json
from legible.languages.text.state import prompt_ends
from legible.models.placement import precision_part
from legible.models.target import Encoded, Target

LONG_TOKEN = 16  # characters a token rarely has
CUT_MARGIN = 32  # a cut text may be split otherwise in its last tokens only
Progress = Callable[[int, int], None]
"""Called with (documents read, rows captured) after every forward pass."""


@dataclass(frozen=True)
class _Progress:
    """How far the documents are read: saved with every shard."""

    documents: int = 0
    short: int = 0
    truncated: int = 0
    repaired: int = 0
    digest: str = ""  # chained over ids and texts, so that other documents are noticed

    def past(self, document: Document) -> "_Progress":
        """The progress after one more document."""
        labels = f"\n{json.dumps(to_json(document.labels), sort_keys=True)}" if document.labels else ""
        link = f"{self.digest}\n{document.doc_id}\n{document.text}{labels}".encode("utf-8", errors="surrogatepass")
        count, mended = self.documents + 1, self.repaired + document.repaired
        return replace(self, documents=count, repaired=mended, digest=hashlib.sha256(link).hexdigest())

    @property
    def counts(self) -> dict[str, int]:
        """The counts shown with the store."""
        counts = {"documents": self.documents, "short": self.short, "truncated": self.truncated}
        return {**counts, "repaired": self.repaired} if self.repaired else counts


@dataclass
class _Group:
    """The documents of one shard."""

    passages: list[Passage] = field(default_factory=list)
    rows: int = 0
    progress: _Progress = _Progress()


def capture(
    target: Target,
    documents: Iterable[Document],
    config: CaptureConfig,
    out: Path,
    *,
    progress: Progress | None = None,
    speaker: Speaker | None = None,
) -> Store:
    """Store the target's activations at sampled tokens of the documents; run again, it resumes.

    Args:
        target: the frozen model.
        documents: in a fixed order; read once, a shard's worth in memory at a time.
        config: layers, positions, precision and batch sizes.
        out: the store's folder, new or of the same capture.
        progress: see `Progress`.
        speaker: writes the continuations, where the configuration asks for some.

    Returns:
        The finished store. `store.counts` says how many documents were read, too short or truncated.

    Raises:
        UsageError: a layer out of range, no token to read, or a folder that holds another capture.
        StoreError: a damaged shard, a full disk, or activations that the dtype cannot hold.
    """
    _check_layers(target, config.layers)
    if config.continuations and speaker is None:
        raise ValueError("continuations are wanted but nothing writes them: pass speaker=")
    writer = StoreWriter(out, store_header(target, config))
    stream = iter(documents)
    done = _resume(writer, stream, out)
    if writer.manifest.complete:
        if next(stream, None) is not None:
            raise _other_documents(out)
        return Store.open(out)
    if config.predictions:
        writer.write_token_texts(token_texts(target))
    for group in _groups(target, stream, config, done):
        report = _reporter(progress, group, writer.rows)
        rows, vectors = read(target, group.passages, config, report, speaker if config.continuations else None)
        done = group.progress
        state = {"digest": done.digest, "counts": done.counts}
        writer.append([passage.document for passage in group.passages], rows, vectors, state)
    return writer.finish(done.counts)


def store_header(target: Target, config: CaptureConfig) -> StoreHeader:
    """What a store of this target's activations says of itself."""
    origin = {"target": target.name, "sha256": target.sha256(), "capture": config.model_dump(mode="json")}
    origin |= precision_part(target.model)  # other numbers of the same weights; float32 is not named
    return StoreHeader(
        layers=config.layers,
        d_model=target.d_model,
        dtype=config.dtype,
        predictions=config.predictions,
        certainty=config.certainty,
        continuations=config.continuations,
        origin=origin,
    )


def _check_layers(target: Target, layers: Sequence[int]) -> None:
    if not layers or not all(0 <= layer < target.n_layers for layer in layers):
        raise UsageError(
            f"layers {list(layers)} of {target.name}, expected numbers from 0 to {target.n_layers - 1}.\n"
            "  Layer K is the residual stream after block K, counted from 0. Correct --layer."
        )


def _resume(writer: StoreWriter, stream: Iterator[Document], out: Path) -> _Progress:
    """Step over the documents of whole shards, proving that they are the same ones."""
    if not writer.state:
        return _Progress()
    counts = writer.state["counts"]
    done = _Progress(short=counts["short"], truncated=counts["truncated"])
    for _ in range(counts["documents"]):
        document = next(stream, None)
        if document is None:
            raise _other_documents(out)
        done = done.past(document)
    if done.digest != writer.state["digest"]:
        raise _other_documents(out)
    return done


def _other_documents(out: Path) -> UsageError:
    return UsageError(
        f"{out} holds activations of other documents than those given now.\n"
        "  The usual cause is a changed corpus or number of documents under an old output folder.\n"
        "  Choose another folder, or delete this one to capture again."
    )


def _groups(target: Target, stream: Iterator[Document], config: CaptureConfig, done: _Progress) -> Iterator[_Group]:
    """Shards' worth of documents: a group closes before the document that would overfill it."""
    group = _Group()
    for document in stream:
        before, done = done, done.past(document)
        passage, truncated = _encode(target, document, config)
        done = replace(done, truncated=done.truncated + truncated, short=done.short + (not passage.positions))
        if not passage.positions:
            continue
        if group.rows and group.rows + len(passage.positions) > config.shard_rows:
            group.progress = before
            yield group
            group = _Group()
        group.passages.append(passage)
        group.rows += len(passage.positions)
    if group.rows:
        group.progress = done
        yield group


def _encode(target: Target, document: Document, config: CaptureConfig) -> tuple[Passage, bool]:
    """The document cut to the tokens that the target may see, and whether that cut anything off."""
    limit = min(config.max_tokens, target.context)
    encoded = _encode_start(target, document.text, limit)
    truncated = len(encoded.ids) > limit
    ids, offsets = encoded.ids[:limit], encoded.offsets[:limit]
    textual = [i for i, (start, end) in enumerate(offsets) if end > start]
    if not textual:
        return Passage(document, [], [], []), truncated
    if truncated:  # a book's later chapters are of no use in the store
        document = replace(document, text=document.text[: offsets[textual[-1]][1]])
    ends = sentence_end_tokens(document.text, offsets)
    positions = sample_positions(document.doc_id, textual[-1] + 1, config, ends)
    if config.prompt_ends:
        positions = sorted({*positions, *_prompt_ends(document.text, offsets, config.min_pos)})
    needed = positions[-1] + 1 if positions else 0  # causal: later tokens cannot matter
    return Passage(document, ids[:needed], offsets[:needed], positions), truncated


def _prompt_ends(text: str, offsets: Sequence[tuple[int, int]], min_pos: int) -> list[int]:
    """Indices of the tokens behind which a model begins to answer."""
    places = set(prompt_ends(text))
    return [i for i, (start, end) in enumerate(offsets) if i >= min_pos and end > start and end in places]


def _encode_start(target: Target, text: str, limit: int) -> Encoded:
    """The first tokens of a text; more than `limit` of them where it has more. A long text is not encoded whole."""
    if not text.strip():
        return Encoded([], [])
    start = text[: LONG_TOKEN * limit]
    if len(start) < len(text) and start.strip():
        encoded = target.encode(start)
        if len(encoded.ids) > limit + CUT_MARGIN:
            return encoded
    return target.encode(text)


def _reporter(progress: Progress | None, group: _Group, rows_before: int) -> Callable[[int, int], None]:
    first = group.progress.documents - len(group.passages)

    def report(passages: int, rows: int) -> None:
        if progress is not None:
            progress(first + passages, rows_before + rows)

    return report
