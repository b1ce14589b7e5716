"""Read a text: the explanation behind each token, its claims, how well the activation comes back, and warnings.

The scores are of the words alone: the reconstructor gets the explanation and nothing else. A score says that the
words carry the activation, not that they are true; claims have verdicts only where a language decides them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from legible.analysis.flags import text_flags
from legible.analysis.positions import parse_positions
from legible.analysis.rows import rows_of, with_expectations
from legible.config import CaptureConfig
from legible.documents import Document
from legible.engines.base import Completion
from legible.engines.local import LocalEngine
from legible.errors import UsageError
from legible.evaluate.marks import Decided
from legible.models.target import Encoded
from legible.train.checkpoint import Checkpoint, load_checkpoint
from legible.truth.claims import Claim, Fact, Verdict, judge, split_sentences
from legible.vectors import direction_mse, fve_token

LONGEST = 300  # tokens of an explanation, where the verbalizer's context allows them


@dataclass(frozen=True)
class ReadClaim:
    """One statement of an explanation. `p_true` is null until a calibrator exists; `verdict` where it is decidable."""

    text: str
    p_true: float | None = None
    kind: str | None = None
    value: str | None = None
    verdict: Verdict = "unknown"
    agreement: float | None = None  # share of the samples that make the same claim

    def as_dict(self) -> dict[str, Any]:
        """`text` and `p_true` always; the rest where it is known."""
        found: dict[str, Any] = {"text": self.text, "p_true": self.p_true}
        if self.kind is not None:
            found |= {"kind": self.kind, "value": self.value}
        if self.verdict != "unknown":
            found["verdict"] = self.verdict
        if self.agreement is not None:
            found["agreement"] = self.agreement
        return found


@dataclass(frozen=True)
class Reading:
    """What was read at one token. `samples` holds every explanation where more than one was asked for."""

    pos: int
    token: str
    token_id: int
    layer: int
    norm: float
    flags: tuple[str, ...]
    explanation: str | None
    direction_mse: float | None
    fve_token: float | None
    claims: tuple[ReadClaim, ...]
    samples: tuple[tuple[str | None, float | None], ...] = ()

    def decided(self) -> list[Decided]:
        """The claims as tables and pages mark them."""
        return [(claim.text, claim.value, claim.verdict) for claim in self.claims]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON, the keys of `legible read --json`."""
        found = {
            "pos": self.pos,
            "token": self.token,
            "token_id": self.token_id,
            "layer": self.layer,
            "norm": self.norm,
            "flags": list(self.flags),
            "explanation": self.explanation,
            "direction_mse": self.direction_mse,
            "fve_token": self.fve_token,
            "claims": [claim.as_dict() for claim in self.claims],
        }
        if self.samples:
            found["samples"] = [{"explanation": text, "direction_mse": mse} for text, mse in self.samples]
        return found


@dataclass(frozen=True)
class _Scored:
    text: str | None
    mse: float | None


def load(name: str | Path, *, target: str | None = None) -> "Reader":
    """Load a checkpoint for reading.

    Args:
        name: a run's directory, a checkpoint's directory, a hub name, or `builtin`.
        target: where the target lies, if not where the contract says.

    Raises:
        UsageError: nothing of that name, or a contract that does not fit its tokenizer or target.

    Example:
        >>> load("builtin").read("Our hero Pavel rested beside the desert.")[-1].explanation  # doctest: +SKIP
    """
    return Reader(load_checkpoint(name, target=target), str(name))


class Reader:
    """A checkpoint ready to read texts."""

    def __init__(self, checkpoint: Checkpoint, name: str = "") -> None:
        self.checkpoint = checkpoint
        self.name = name
        self.engine = LocalEngine(checkpoint.verbalizer)

    def read(
        self,
        text: str,
        *,
        positions: str = "all",
        samples: int = 1,
        temperature: float | None = None,
        seed: int = 0,
    ) -> list[Reading]:
        """One `Reading` for each chosen token.

        Args:
            text: what the target reads; at most its context.
            positions: 'all', '-1', '3,5' or a slice such as '4:9'; special tokens count.
            samples: explanations per token; the one whose vector comes back best is the reading's.
            temperature: of the sampling; absent: 0 for one sample, 1 for more.
            seed: of the sampling.

        Raises:
            UsageError: an empty or too long text, positions that are not there, or samples below 1.
        """
        return self.read_document(
            Document("", text), positions=positions, samples=samples, temperature=temperature, seed=seed
        )

    def read_document(
        self,
        document: Document,
        *,
        positions: str = "all",
        samples: int = 1,
        temperature: float | None = None,
        seed: int = 0,
    ) -> list[Reading]:
        """As `read`; where the checkpoint's language knows the document's facts, claims get their verdicts."""
        if samples < 1:
            raise UsageError(f"samples is {samples}, expected at least 1.")
        encoded = self._encode(document.text)
        chosen = parse_positions(positions, len(encoded.ids))
        ids = torch.tensor([encoded.ids])
        layer = self.checkpoint.layer
        stream = self.checkpoint.target.streams(ids, torch.ones_like(ids), (layer,))[layer][0].cpu()
        heat = temperature if temperature is not None else (0.0 if samples == 1 else 1.0)
        completions = self.engine.generate(
            stream[chosen], samples=samples, temperature=heat, max_tokens=self._longest(), seed=seed
        )
        scored = self._scores(completions, stream[chosen])
        facts = self._facts(document, encoded)
        flags = text_flags(encoded, self._pieces(encoded), stream.norm(dim=-1), self._sampled().min_pos)
        return [
            self._reading(document.text, encoded, pos, stream[pos], flags[pos], mine, facts.get(pos, {}))
            for pos, mine in zip(chosen, scored, strict=True)
        ]

    def about(self) -> dict[str, Any]:
        """What a report says of the checkpoint: names, layer, V and where it comes from."""
        checkpoint = self.checkpoint
        extra = checkpoint.contract.legible
        return {
            "checkpoint": self.name,
            "target": extra.target.id if extra and extra.target else checkpoint.target.name,
            "layer": checkpoint.layer,
            "variance": checkpoint.variance,
            "language": checkpoint.language.name if checkpoint.language else None,
        }

    def _encode(self, text: str) -> Encoded:
        target = self.checkpoint.target
        encoded = target.encode(text)
        if len(encoded.ids) > target.context:
            raise UsageError(
                f"the text has {len(encoded.ids)} tokens, the target's context is {target.context}.\n"
                "  Read a part of it: nothing is cut off in silence."
            )
        return encoded

    def _longest(self) -> int:
        prompt = self.checkpoint.verbalizer.prompt
        config = self.checkpoint.verbalizer.model.config.get_text_config()
        used = len(prompt.prefix_ids) + 1 + len(prompt.suffix_ids)
        return min(LONGEST, int(config.max_position_embeddings) - used)

    def _scores(
        self, completions: Sequence[Sequence[Completion]], vectors: Float[Tensor, "n d"]
    ) -> list[list[_Scored]]:
        texts = [(row, done.explanation) for row, group in enumerate(completions) for done in group]
        parsed = [(row, text) for row, text in texts if text is not None]
        errors: list[float] = []
        if parsed and self.checkpoint.reconstructor is not None:
            back = self.checkpoint.reconstructor.reconstruct([text for _, text in parsed])
            errors = direction_mse(back.cpu(), vectors[[row for row, _ in parsed]]).tolist()
        found = iter(errors if errors else [None] * len(parsed))
        return [
            [_Scored(done.explanation, next(found) if done.explanation is not None else None) for done in group]
            for group in completions
        ]

    def _facts(self, document: Document, encoded: Encoded) -> dict[int, Mapping[str, Fact]]:
        """What holds at each token, as far as the language decides it; the world decides its own stories only."""
        language = self.checkpoint.language
        if language is None:
            return {}
        rows = rows_of(document, encoded.ids, encoded.offsets)
        top = self._sampled().predictions
        if top:
            rows = with_expectations(self.checkpoint.target, encoded.ids, rows, top)
        return {row.pos: language.facts(row) for row in rows}

    def _pieces(self, encoded: Encoded) -> list[str]:
        return list(self.checkpoint.target.tokenizer.convert_ids_to_tokens(encoded.ids))

    def _sampled(self) -> CaptureConfig:
        """Which positions the pair was trained on; the contract's defaults where it does not say."""
        extra = self.checkpoint.contract.legible
        return CaptureConfig.from_positions(extra.variance.positions if extra and extra.variance else "")

    def _claims(self, text: str) -> list[Claim]:
        language = self.checkpoint.language
        return language.parse(text).claims if language is not None else split_sentences(text)

    def _reading(
        self,
        text: str,
        encoded: Encoded,
        pos: int,
        vector: Tensor,
        flags: tuple[str, ...],
        scored: list[_Scored],
        facts: Mapping[str, Fact],
    ) -> Reading:
        best = min(scored, key=lambda one: (one.text is None, one.mse if one.mse is not None else 0.0))
        variance = self.checkpoint.variance
        start, end = encoded.offsets[pos]
        return Reading(
            pos=pos,
            token=text[start:end] or self._pieces(encoded)[pos],
            token_id=encoded.ids[pos],
            layer=self.checkpoint.layer,
            norm=float(vector.norm()),
            flags=flags if best.text is not None else (*flags, "parse_failed"),
            explanation=best.text,
            direction_mse=best.mse,
            fve_token=fve_token(best.mse, variance) if best.mse is not None and variance else None,
            claims=self._read_claims(best, scored, facts),
            samples=tuple((one.text, one.mse) for one in scored) if len(scored) > 1 else (),
        )

    def _read_claims(self, best: _Scored, scored: list[_Scored], facts: Mapping[str, Fact]) -> tuple[ReadClaim, ...]:
        if best.text is None:
            return ()
        made = [ReadClaim(c.text, None, c.kind, c.value, judge(c, facts)) for c in self._claims(best.text)]
        if len(scored) == 1:
            return tuple(made)
        others = [{_key(claim) for claim in self._claims(one.text)} for one in scored if one.text is not None]
        return tuple(
            replace(claim, agreement=sum(_key(claim) in other for other in others) / len(scored)) for claim in made
        )


def _key(claim: Claim | ReadClaim) -> tuple[str | None, str | None]:
    return (claim.kind, claim.value) if claim.kind is not None else (None, claim.text.lower())
