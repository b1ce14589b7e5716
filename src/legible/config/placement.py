"""Where models lie and in which numbers: the device, the format of their weights, and quantization."""

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from legible.config.base import Section


class Placement(Section):
    """Where the models of a verb lie, and how their weights are held."""

    device: str = Field(
        "auto",
        json_schema_extra={"metavar": "auto|cpu|cuda[:N]|mps"},
        description="auto: the first NVIDIA card if there is one, else the processor; cuda:N names a card",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="number format of the weights; auto: float32, but on a card bfloat16 for weights stored so",
    )
    quantize: Literal["none", "8bit", "4bit"] = Field(
        "none",
        description="8 or 4 bits for weights that are only read (bitsandbytes): less memory, different activations",
    )

    @field_validator("device")
    @classmethod
    def _known(cls, device: str) -> str:
        if re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device) is None:
            raise ValueError("expected auto, cpu, cuda, cuda:N or mps")
        return device

    @property
    def is_default(self) -> bool:
        """Whether nothing was chosen."""
        return self == AUTO

    def options(self) -> str:
        """What was chosen as a command's options, each after a space; empty where nothing was.

        Example:
            >>> Placement(device="cpu", dtype="bfloat16").options()
            ' --device cpu --dtype bfloat16'
        """
        return "".join(f" --{name} {value}" for name, value in self.model_dump(exclude_defaults=True).items())

    def deciding(self) -> dict[str, Any]:
        """What of it changes a result, for an identity: not the device, and nothing where nothing was chosen."""
        return self.model_dump(exclude={"device"}, exclude_defaults=True)


AUTO = Placement()
"""What is taken where nothing is chosen."""
