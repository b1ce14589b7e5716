"""Where a model lies and in which numbers: the one place that decides it and puts weights there.

Inputs follow the weights: a role moves what it is given to its own `device`, and what leaves it is float32. Norms,
scores, losses and optimizer states are float32 whatever the weights are; only frozen weights are held in fewer bits.
"""

import copy
import logging
from importlib.util import find_spec
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import AutoConfig

from legible.config import Placement
from legible.errors import UsageError

M = TypeVar("M", bound=nn.Module)
CPU = Placement(device="cpu", dtype="float32")
"""As everything was before there was a choice: for what is only read to be written out again."""
FULL = "float32"
DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_QUANTIZED = {"Params4bit": "4bit", "Int8Params": "8bit"}  # kinds of parameters of bitsandbytes
_SIXTEEN = (torch.bfloat16, torch.float16)


def device_of(place: Placement) -> torch.device:
    """The device that a placement names.

    Raises:
        UsageError: it is not there.
    """
    if place.device == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    device = torch.device(place.device)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(
            f"--device {place.device}: torch {torch.__version__} finds {torch.cuda.device_count()} NVIDIA cards here.\n"
            "  The usual cause is a torch without CUDA, a missing driver, or a number that counts from 1.\n"
            "  Choose --device auto, which takes what there is."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError(
            f"--device mps: torch {torch.__version__} finds no Apple GPU (mps) here.\n"
            "  Choose --device auto, which takes what there is."
        )
    return device if device.index is not None or device.type != "cuda" else torch.device("cuda:0")


def dtype_of(place: Placement, device: torch.device, name: str, **options: Any) -> torch.dtype:
    """The number format of a model's weights in memory.

    `auto` is float32, in which V, lookups and calibrators of our own pairs were measured, whatever they are stored in.
    On a card that computes in bfloat16, what is stored in bfloat16 stays so: it was trained so and loses nothing.

    Args:
        place: what was asked for.
        device: where the model goes.
        name: directory or hub name.
        options: of transformers, for reading its configuration.
    """
    if place.dtype != "auto":
        return DTYPES[place.dtype]
    if device.type != "cuda" or not torch.cuda.is_bf16_supported():
        return torch.float32
    stored = AutoConfig.from_pretrained(name, **options).dtype
    return torch.bfloat16 if stored == torch.bfloat16 else torch.float32


def loading_options(place: Placement, name: str, **options: Any) -> dict[str, Any]:
    """What transformers' `from_pretrained` is told of a placement.

    Raises:
        UsageError: a device that is not there, or bitsandbytes is missing.
    """
    device = device_of(place)
    dtype = dtype_of(place, device, name, **options)
    if place.quantize != "none":
        return {"dtype": dtype, "device_map": {"": device}, "quantization_config": _quantization(place.quantize, dtype)}
    return {"dtype": dtype} if device.type == "cpu" else {"dtype": dtype, "device_map": {"": device}}


def _quantization(bits: str, dtype: torch.dtype) -> Any:
    if find_spec("bitsandbytes") is None:
        raise UsageError(
            f"--quantize {bits} needs bitsandbytes, which is not installed.\n"
            "  pip install 'legible-nla[quantize]', or choose --dtype bfloat16 instead."
        )
    from transformers import BitsAndBytesConfig

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it warns of its own casts at every call
    if bits == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def precision_of(model: nn.Module) -> str:
    """How a model's weights are held: `float32`, `bfloat16`, `float16`, `8bit` or `4bit`; adapters do not count.

    With 8 and 4 bits the linear maps inside the blocks are quantized and everything else has the 16 or 32 bits that
    `--dtype` says: `4bit/bfloat16`.
    """
    plain, quantized = FULL, None
    for name, parameter in model.named_parameters():
        kind = _QUANTIZED.get(type(parameter).__name__)
        if kind is not None:
            quantized = kind
        elif "lora_" not in name and parameter.dtype in _SIXTEEN:
            plain = str(parameter.dtype).removeprefix("torch.")
    return plain if quantized is None else f"{quantized}/{plain}"


def precision_part(model: nn.Module) -> dict[str, str]:
    """The precision as a part of an identity: nothing for float32, so that what was made before keeps its name."""
    precision = precision_of(model)
    return {} if precision == FULL else {"precision": precision}


def is_quantized(model: nn.Module) -> bool:
    """Whether some of a model's weights are held in 8 or 4 bits."""
    return any(type(parameter).__name__ in _QUANTIZED for parameter in model.parameters())


def refuse_quantized(model: nn.Module, what: str, instead: str) -> None:
    """Refuse what needs the weights themselves.

    Args:
        model: whose weights.
        what: was asked for, as a clause.
        instead: what to do.

    Raises:
        UsageError: the model is quantized.
    """
    if is_quantized(model):
        raise UsageError(
            f"{what}, but the weights are held in {precision_of(model).partition('/')[0]}: their own bits are gone.\n"
            f"  {instead}"
        )


def trainable_copy(model: M) -> M:
    """A copy with float32 weights: AdamW's and Muon's small steps would be rounded away in 16 bits.

    Raises:
        UsageError: the model is quantized.
    """
    refuse_quantized(
        model, "full fine-tuning was asked for", "Train adapters over --dtype bfloat16 instead: --adapter-rank 16."
    )
    return nn.Module.to(copy.deepcopy(model), torch.float32)


def in_full(place: Placement) -> Placement:
    """The same device with float32 weights: for a model that is trained."""
    return place.model_copy(update={"dtype": FULL, "quantize": "none"})


def trained_at(model: nn.Module) -> Placement:
    """Where a role lies that is trained beside this model: on its device, in float32."""
    return CPU.model_copy(update={"device": str(next(model.parameters()).device)})


def circumstances(model: nn.Module) -> dict[str, str]:
    """Device and precision of a model, as results record them."""
    device = next(model.parameters()).device
    named = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {"device": str(device), "precision": precision_of(model)} | ({"gpu": named} if named else {})


def circumstances_part(model: nn.Module) -> dict[str, dict[str, str]]:
    """The same as a part of a report, under `placement`; nothing for float32 on the processor."""
    circumstance = circumstances(model)
    return {} if circumstance == {"device": "cpu", "precision": FULL} else {"placement": circumstance}
