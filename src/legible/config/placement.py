"""Where models lie and in which numbers: the device, the format of their weights, and quantization."""

from typing import Any, Literal

from pydantic import Field

from legible.config.base import Section


class Placement(Section):
    """Where the models of a verb lie, and how their weights are held."""

    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$",
        json_schema_extra={"metavar": "auto|cpu|cuda[:N]|mps"},
        description="auto: the first NVIDIA card where there is one, else the processor; cuda:N names a card",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="number format of the weights; auto: float32, on a card bfloat16 for what is stored in 16 bits",
    )
    quantize: Literal["none", "8bit", "4bit"] = Field(
        "none", description="hold frozen weights in 8 or 4 bits (bitsandbytes): less memory, other activations"
    )

    @property
    def is_default(self) -> bool:
        """Whether nothing was chosen."""
        return self == AUTO

    def deciding(self) -> dict[str, Any]:
        """What of it changes a result, for an identity: not the device, and nothing where nothing was chosen."""
        return self.model_dump(exclude={"device"}, exclude_defaults=True)


AUTO = Placement()
"""What is taken where nothing is chosen."""
