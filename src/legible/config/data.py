"""Sections of the training data: which activations are captured, and who writes the warm-start text."""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from legible.config.base import Section, validated
from legible.errors import ConfigError

POSITION_FIELDS = ("positions_per_doc", "min_pos", "sentence_end_share", "max_tokens", "predictions")
MEASURED = 8
"""Continuations of a token where what a model is about to say is measured; a greedy one serves training."""


class TextsConfig(Section):
    """Labelled texts of a run's own: summaries of Wikipedia, and chats with the target itself."""

    wikipedia: int = Field(4800, description="English summaries to train on", ge=0)
    french: int = Field(400, description="French ones", ge=0)
    chats: int = Field(1344, description="chats with the target, including held-out ones", ge=0)
    reply_tokens: int = Field(64, description="longest reply in a chat", ge=1)
    tags: Literal["names", "none"] = Field(
        "names", description="names: people, places and tenses by spaCy's small English model (an extra); or none"
    )
    seed: int = Field(0, description="seed of the chats")


class CaptureConfig(Section):
    """Which activations of which documents go into the store."""

    later: ClassVar[tuple[str, ...]] = ("certainty", "continuations", "continuation_tokens", "prompt_ends")

    layers: tuple[int, ...] = Field(
        (2,), description="layers K (residual stream after block K, from 0), one pass for all"
    )
    positions_per_doc: int = Field(8, description="tokens sampled per document by (seed, doc_id)")
    min_pos: int = Field(50, description="earliest token index sampled; 50 by the contract, lower for short contexts")
    sentence_end_share: float = Field(
        0.0, description="share of the positions drawn from sentence-final tokens where there are any"
    )
    max_tokens: int = Field(512, description="documents are truncated to this many tokens (counted)")
    dtype: Literal["float32", "float16", "bfloat16"] = Field(
        "float16", description="number format of the stored vectors"
    )
    batch_tokens: int = Field(8192, description="padded tokens in one forward pass")
    shard_rows: int = Field(4096, description="rows in one shard; a finished shard is kept if the run is killed")
    predictions: int = Field(0, description="store the target's top-N next tokens and its surprise at the read token")
    certainty: bool = Field(
        False, description="store the probability of the target's likeliest next token; needs predictions"
    )
    continuations: int = Field(
        0, ge=0, description="store the target's continuations after each read token: 1 is greedy, more are sampled"
    )
    continuation_tokens: int = Field(16, ge=1, description="longest continuation")
    prompt_ends: bool = Field(
        False, description="in chats also the last token of every prompt, after which the model begins to answer"
    )
    seed: int = Field(0, description="seed of the sampled positions")

    @model_validator(mode="after")
    def _certain_of_predictions(self) -> "CaptureConfig":
        if self.certainty and not self.predictions:
            raise ValueError("certainty needs predictions of at least 1")
        return self

    @property
    def measured(self) -> "CaptureConfig":
        """The same where rows are measured: with several continuations, if there are any."""
        return self.model_copy(update={"continuations": MEASURED}) if self.continuations else self

    def positions_text(self) -> str:
        """Which positions are sampled, for the contract's `variance.positions`: `key=value` pairs."""
        written = self.model_dump()
        return " ".join(f"{name}={written[name]}" for name in (*POSITION_FIELDS, *self.later) if name in written)

    @classmethod
    def from_positions(cls, text: str, **others: Any) -> "CaptureConfig":
        """A configuration that samples as `text` says; fields that it does not name keep their defaults.

        Raises:
            ConfigError: an unknown key or an impossible value.
        """
        named = dict(pair.partition("=")[::2] for pair in text.split())
        if unknown := sorted(set(named) - {*POSITION_FIELDS, *cls.later}):
            raise ConfigError(f"{text!r} names {', '.join(unknown)}, expected {', '.join(POSITION_FIELDS)}.")
        return validated(
            cls,
            {**named, **others},
            "the contract's variance.positions",
            hint="The usual cause is a sidecar written by hand or by another version. Mend that line of it.",
        )


class TeachConfig(Section):
    """Who writes the warm-start text, and how much it may say."""

    teacher: str = Field("world", description="world | text | openai:MODEL@URL | anthropic:MODEL | local:PATH")
    limit: Literal["none", "probes", "leverage"] = Field(
        "none",
        description="'probes': only claims that probes find in the activation; 'leverage': only claims whose deletion "
        "costs the reconstructor of `limit_by`",
    )
    limit_by: str | None = Field(None, description="checkpoint of an earlier run on this target (limit 'leverage')")
    least_leverage: float = Field(
        0.005, description="rise of direction_mse that deleting a claim must cost (limit 'leverage')"
    )
    threshold: float = Field(
        0.5, description="a limited teacher keeps claims whose calibrated probe probability reaches this"
    )
    concurrency: int = Field(4, description="requests in flight (HTTP teachers)")
    max_tokens: int = Field(300, description="longest text requested from an HTTP or local teacher")
    temperature: float = Field(0.7, description="sampling temperature requested from an HTTP or local teacher")
    retries: int = Field(6, description="tries after 429, 5xx or a timeout, with exponential back-off")
    timeout: float = Field(60.0, description="seconds per request")
    seed: int = Field(0, description="seed of the wording of a language's teacher")
