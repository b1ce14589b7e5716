"""The face of Legible in Python: one object that reads, explains, scores, steers and fills archives.

It checks what it is given and hands the work to the rooms that do it; nothing is computed here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from legible.archive.choosing import Positions as ArchivePositions
from legible.archive.searching import Archive
from legible.archive.writing import fill
from legible.display import visible
from legible.documents import Document
from legible.errors import UsageError
from legible.models.chats import chat_text
from legible.models.target import Target
from legible.reading.checkpoint import OTHER_TARGET, Checkpoint
from legible.reading.given_vectors import given_vectors, one_vector
from legible.reading.positions import Positions
from legible.reading.prepared import planned, stream_of
from legible.reading.reader import Reader
from legible.reading.scoring import Score, reconstructed, scores
from legible.session.given import (
    Progress,
    documents_of,
    number_or_none,
    one_text,
    reporter,
    sampling,
    whole_number,
)
from legible.session.readings import Explanations, Readings
from legible.steer.steered import Steered
from legible.steer.steering import steer_text
from legible.steer.sweep import Mode


class Session:
    """A loaded pair. Activations are raw, float32, of layer `layer`, as wide as `d_model`."""

    def __init__(self, reader: Reader) -> None:
        """Take a reader; `legible.load` makes one from a name."""
        self._reader = reader

    @property
    def checkpoint(self) -> Checkpoint:
        """Verbalizer, reconstructor, target and contract."""
        return self._reader.checkpoint

    @property
    def target(self) -> Target:
        """The model that is read."""
        return self.checkpoint.target

    @property
    def layer(self) -> int:
        """K: activations are the residual stream after block K, blocks counted from 0."""
        return self.checkpoint.layer

    @property
    def d_model(self) -> int:
        """Width of an activation."""
        return self.target.d_model

    def about(self) -> dict[str, Any]:
        """What a report says of the checkpoint: names, layer, V, and a warning where another target is read."""
        return self._reader.about()

    def read(
        self,
        text: str | Document | Sequence[str | Document],
        *,
        positions: Positions = "all",
        samples: int = 1,
        temperature: float | None = None,
        seed: int = 0,
        trust: float | None = None,
        chat: bool = False,
        progress: Progress = False,
    ) -> Readings:
        """One `Reading` for each chosen token, flat, in the order of the texts.

        Args:
            text: what the target reads, or a list of texts, each at most the target's context.
            positions: of each text: `"all"`, `-1`, `[1, -1]`, a slice, or a string such as `"4:9"`; special tokens
                count. Tokens come in the order given.
            samples: explanations per token; the one whose vector comes back best is the reading's.
            temperature: of the sampling; absent: 0 for one sample, 1 for more.
            seed: of the sampling.
            trust: show only claims of at least this p_true, in [0, 1]; those without one are withheld too.
            chat: read each text as a user's turn in the target's chat template, up to where the model begins to answer.
            progress: True writes lines to stderr; a function takes (explanations written, explanations in all).

        Raises:
            UsageError: something else than texts, an empty or too long one, positions that are not there, a number out
                of range, or a chat with a target that has no template.
        """
        documents = self._documents(text, chat)
        found = self._reader.read_all(
            documents,
            positions=positions,
            **sampling(samples, temperature, seed),
            trust=number_or_none("trust", trust),
            progress=reporter(progress, "reading"),
        )
        return Readings(
            [reading for group in found for reading in group],
            [index for index, group in enumerate(found) for _ in group],
            [document.text for document in documents],
            self.about(),
        )

    def activations(
        self, text: str | Document | Sequence[str | Document], positions: Positions = "all", *, chat: bool = False
    ) -> Float[Tensor, "n d_model"]:
        """The target's raw activations at the chosen tokens: one row for each reading that `read` would give.

        Returns:
            float32, on the processor.

        Raises:
            UsageError: as `read`.
        """
        plan = planned(self.checkpoint, self._documents(text, chat), positions)
        return torch.cat([stream_of(self.checkpoint, one.encoded)[one.chosen] for one in plan])

    def explain(
        self,
        vectors: object,
        *,
        tensor: str | None = None,
        samples: int = 1,
        temperature: float | None = None,
        seed: int = 0,
        progress: Progress = False,
    ) -> Explanations:
        """Explanations of activations from anywhere: a hook, TransformerLens, nnsight, a file.

        They have scores and claims, and no p_true: that needs the text. Use `read` where there is one.

        Args:
            vectors: [n, d_model] or [d_model], raw, of layer `layer` of the target: a tensor, an array, or the path of
                a `.npy` or `.safetensors` file.
            tensor: which tensor of a safetensors file that holds several.
            samples, temperature, seed, progress: as in `read`.

        Raises:
            UsageError: another type, width or shape, values that are not finite, or a file that cannot be read.
        """
        rows = given_vectors(vectors, self.d_model, tensor=tensor)
        how = sampling(samples, temperature, seed)
        return Explanations(self._reader.explain(rows, **how, progress=reporter(progress, "explaining")), self.about())

    def score(self, explanation: str | Sequence[str], vector: object) -> Score | list[Score]:
        """How well words, whoever wrote them, give an activation back.

        Args:
            explanation: one text, or a list of them.
            vector: [d_model], what each of the texts is held against, or [n, d_model], one row for each of n texts.

        Returns:
            One `Score` for one text; a list of them for a list.

        Raises:
            UsageError: no reconstructor, other types or shapes, another number of texts than of rows, or a text without
                a token.
        """
        texts = [explanation] if isinstance(explanation, str) else _texts(explanation)
        rows = given_vectors(vector, self.d_model)
        if len(rows) not in (1, len(texts)):
            raise UsageError(
                f"{len(texts)} explanations and {len(rows)} vectors: expected one vector, or one for each."
            )
        found = scores(self.checkpoint, texts, rows.expand(len(texts), -1))
        return found[0] if isinstance(explanation, str) else found

    def reconstruct(self, explanation: str | Sequence[str]) -> Tensor:
        """What the reconstructor makes of words: [d_model] of one text, [n, d_model] of n; only the direction counts.

        Raises:
            UsageError: no reconstructor, something else than texts, or a text without a token.
        """
        texts = [explanation] if isinstance(explanation, str) else _texts(explanation)
        found = reconstructed(self.checkpoint, texts)
        return found[0] if isinstance(explanation, str) else found

    def steer(
        self,
        text: str,
        edits: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        *,
        pos: int = -1,
        replacement: str | None = None,
        explanation: str | None = None,
        vector: object | None = None,
        tensor: str | None = None,
        strengths: Sequence[float] | None = None,
        mode: Mode = "later",
        controls: bool = True,
        samples: int = 1,
        max_tokens: int = 60,
        temperature: float = 0.0,
        seed: int = 0,
    ) -> Steered:
        """Edit the explanation of one token and continue the text under the difference that the edit makes.

        Or give a direction from elsewhere, such as a reading vector or a decoder row of a sparse autoencoder.

        Args:
            text: what the target has read; it is continued behind its last token.
            edits: words of the explanation and what replaces them, such as `{"ring": "pie"}`; or give `replacement`.
            pos: the token whose explanation is edited; negative counts from the end.
            replacement: the whole edited explanation.
            explanation: what is edited; absent: the greedy reading of the token.
            vector: added in place of an edit's difference: [d_model], as `explain` takes it; only the direction counts.
            tensor: which tensor of a safetensors file that holds several, such as `"mood=sad"` of reading vectors.
            strengths: lengths of the added vector in units of the activation's norm; absent: a fixed range, one of
                which is proposed.
            mode: `later` adds at the token and all later ones, `one` at it alone, `patch` moves its activation.
            controls: also continue under a random direction and an unrelated edit of the same length.
            samples, max_tokens, temperature, seed: of the continuations.

        Returns:
            All continuations; `.chosen` is the one at the proposed strength, `.untouched` the one without.

        Raises:
            UsageError: no reconstructor, no such token, words that are not in the explanation, an edit that the
                reconstructor does not see, words and a vector, a vector of several rows, or no room in the target's
                context.
        """
        return steer_text(
            self._reader,
            one_text(text),
            pos=whole_number("pos", pos),
            edits=_pairs(edits),
            replacement=None if replacement is None else one_text(replacement, "the replacement"),
            explanation=None if explanation is None else one_text(explanation, "the explanation"),
            vector=None if vector is None else one_vector(vector, self.d_model, tensor=tensor),
            strengths=strengths,
            mode=mode,
            controls=controls,
            samples=whole_number("samples", samples),
            max_tokens=whole_number("max_tokens", max_tokens),
            temperature=temperature,
            seed=whole_number("seed", seed),
        )

    def read_corpus(
        self,
        corpus: str | Path,
        archive: str | Path,
        *,
        positions: str = "all",
        per_document: int | None = None,
        samples: int = 1,
        temperature: float | None = None,
        seed: int = 0,
        progress: Progress = False,
    ) -> Archive:
        """Read a file of documents into an archive, to be searched; what it holds already is not read again.

        Args:
            corpus: a `.jsonl`, `.json` or `.txt` file, also `.gz`, as `legible read --corpus` takes it.
            archive: the SQLite file, made or filled further.
            positions: of each document, a string as in `read`; tokens that a document does not have are left out.
            per_document: instead of positions, so many tokens of each document, drawn by seed.
            samples, temperature, seed, progress: as in `read`; progress counts documents.

        Returns:
            The archive, open: `.search(words)`, `.claims(words, min_trust=0.8)`, `.count(words)`.

        Raises:
            UsageError: a corpus that cannot be read, a file that is no archive, or a number out of range.
            ArchiveError: the archive cannot be written.
        """
        chosen = ArchivePositions(positions, per_document, whole_number("seed", seed))
        how = sampling(samples, temperature, seed)
        fill(self._reader, Path(corpus), Path(archive), chosen, **how, progress=reporter(progress, "reading"))
        return Archive(archive)

    def __repr__(self) -> str:
        about = self.about()
        scored = "" if self.checkpoint.reconstructor is not None else ", without a reconstructor"
        reads = f"{about['checkpoint']}: reads layer {self.layer} of {about['target']}{scored}"
        warning = f"\nwarning: {visible(other)}" if (other := about.get(OTHER_TARGET)) else ""
        return f"<legible.Session {visible(reads)}>{warning}"

    def _documents(self, text: object, chat: bool) -> list[Document]:
        documents = documents_of(text)
        if not chat:
            return documents
        return [Document("", chat_text(self.target, [("user", one.text)], reply=True)) for one in documents]


def _texts(explanations: object) -> list[str]:
    return [document.text for document in documents_of(explanations)]


def _pairs(edits: object) -> list[tuple[str, str]]:
    """Edits as pairs of texts.

    Raises:
        UsageError: something else.
    """
    pairs = list(edits.items()) if isinstance(edits, Mapping) else edits
    if isinstance(pairs, str) or not isinstance(pairs, Sequence) or not all(map(_is_pair, pairs)):
        raise UsageError(f'edits is {edits!r:.80}, expected words and what replaces them, such as {{"ring": "pie"}}.')
    return [(old, new) for old, new in pairs]


def _is_pair(pair: object) -> bool:
    return isinstance(pair, Sequence) and len(pair) == 2 and all(isinstance(part, str) for part in pair)
