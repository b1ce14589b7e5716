"""Sections of training instruments: one for each that has options."""

from typing import Literal

from pydantic import Field

from legible.config.base import Section
from legible.errors import UsageError


class SAEConfig(Section):
    """A sparse autoencoder on stored activations."""

    kind: Literal["topk", "jumprelu"] = Field("topk", description="the gate of its latents")
    width: int = Field(8, description="latents, as a multiple of the activation's width", ge=1)
    k: int = Field(32, description="active latents: exactly (topk), or on average (jumprelu)", ge=1)
    steps: int = Field(1000, description="optimizer steps", ge=1)
    batch: int = Field(512, description="activations per step", ge=1)
    lr: float = Field(1e-3, description="peak learning rate", gt=0)
    save_every: int = Field(200, description="steps between resumable states", ge=1)
    start: str | None = Field(
        None,
        description="folder of a finished one (SAELens 6, Gemma Scope 2, Llama Scope): it is labelled on the store and "
        "written as SAELens 6, not trained",
    )


class InstrumentConfig(Section):
    """Options of the instruments that have any."""

    sae: SAEConfig = Field(SAEConfig(), description="the sparse autoencoder")

    def of(self, name: str) -> SAEConfig | None:
        """The options of an instrument; None where it has none.

        Raises:
            UsageError: options of another instrument are set.
        """
        for other, field in type(self).model_fields.items():
            if other != name and getattr(self, other) != field.default:
                raise UsageError(
                    f"--{other}-… is given, and the instrument is {name}.\n  Leave it out, or train {other}."
                )
        own: SAEConfig | None = getattr(self, name) if name in type(self).model_fields else None
        return own


USUAL = InstrumentConfig()
