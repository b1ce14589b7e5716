"""Folders that hold a sparse autoencoder: three kinds are read, SAELens' is written. Weights are safetensors alone.

    SAELens 6      cfg.json, sae_weights.safetensors: W_enc [d, n], b_enc, W_dec [n, d], b_dec, threshold
    Gemma Scope 2  params.safetensors: w_enc [d, n], b_enc, w_dec [n, d], b_dec, threshold; mostly config.json
    Llama Scope    hyperparams.json, checkpoints/final.safetensors: encoder.weight [n, d], decoder.weight [d, n], biases

Llama Scope's weights take inputs of length sqrt(d) on average; their scale is folded in, so that raw activations go in
and come out. Its one threshold is already that of raw activations (both as SAELens 6.54 has it). What changes its input
in another way, reads another place than a layer's output, or has another gate, is refused.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from legible.errors import UsageError
from legible.fileio import write_directory
from legible.instruments.autoencoder import Autoencoder

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
GEMMA, LLAMA, LLAMA_WEIGHTS = "params.safetensors", "hyperparams.json", "checkpoints/final.safetensors"
WRITTEN_AS = "6.0.0"
"""The version of SAELens whose files these are."""
_HOOKS = (  # the name of the place -> how many blocks before it the layer stands
    (re.compile(r"blocks\.(\d+)\.hook_resid_post"), 0),
    (re.compile(r"blocks\.(\d+)\.hook_resid_pre"), 1),
    (re.compile(r"model\.layers\.(\d+)\.output"), 0),
)


@dataclass(frozen=True)
class Held:
    """What a folder holds.

    sae: frozen.
    layer: the layer K whose activations it takes; None where the files do not say.
    about: `metadata.legible` of a folder that Legible wrote; empty for others.
    """

    sae: Autoencoder
    layer: int | None
    about: Mapping[str, Any] = field(default_factory=dict)


def read_autoencoder(folder: Path) -> Held:
    """Read a folder of one of the three kinds.

    Raises:
        UsageError: none of them, a broken file, or an autoencoder that is not supported.
    """
    for name, read in ((CONFIG, _saelens), (GEMMA, _gemma), (LLAMA, _llama)):
        if (folder / name).is_file():
            held = read(folder)
            held.sae.requires_grad_(False)
            return held
    raise UsageError(
        f"no sparse autoencoder in {folder}: expected {CONFIG} with {WEIGHTS} (SAELens 6), {GEMMA} (Gemma Scope 2) or "
        f"{LLAMA} with {LLAMA_WEIGHTS} (Llama Scope).\n"
        "  The usual cause is the folder above, or a file in place of its folder.\n"
        "  Train one: legible instrument sae MODEL STORE --out FOLDER"
    )


def write_autoencoder(
    folder: Path, sae: Autoencoder, *, layer: int, model: str, about: Mapping[str, Any], beside: Mapping[str, Any]
) -> None:
    """Write a SAELens folder, whole or not at all.

    Args:
        folder: it is replaced where it is there.
        sae: takes raw activations.
        layer, model: whose.
        about: kept as `metadata.legible`.
        beside: further JSON files, by name.
    """
    config = {
        "d_in": len(sae.b_dec), "d_sae": sae.n_latents, "dtype": "float32", "device": "cpu",
        "apply_b_dec_to_input": sae.centred, "normalize_activations": "none", "reshape_activations": "none",
        "metadata": {
            "sae_lens_version": WRITTEN_AS, "sae_lens_training_version": None, "model_name": model,
            "hook_name": f"blocks.{layer}.hook_resid_post", "hook_head_index": None, "legible": dict(about),
        },
        "architecture": sae.architecture,
        **({"k": sae.k, "rescale_acts_by_decoder_norm": False} if sae.k is not None else {}),
    }  # fmt: skip

    def write(temporary: Path) -> None:
        tensors = {name: value.detach().cpu().contiguous() for name, value in sae.named_parameters()}
        save_file(tensors, temporary / WEIGHTS)
        for name, value in {CONFIG: config, **beside}.items():
            (temporary / name).write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    write_directory(folder, write)


def _saelens(folder: Path) -> Held:
    config = _json(folder / CONFIG)
    metadata = config.get("metadata") or {}
    if not {"architecture", "d_in", "d_sae"} <= config.keys() or not isinstance(metadata, dict):
        raise _unsupported(folder, f"{CONFIG} has no architecture, d_in and d_sae", "the format of SAELens 6")
    kind = config["architecture"]
    if kind not in ("topk", "jumprelu", "standard"):
        raise _unsupported(folder, f"architecture {kind!r}", "topk, jumprelu or standard")
    for key in ("normalize_activations", "reshape_activations"):
        if (value := config.get(key, "none")) != "none":
            raise _unsupported(folder, f"{key} {value!r}", "none: fold it into the weights with SAELens first")
    hook = metadata.get("hook_name")
    layer = None if hook is None else _layer(folder, hook)
    names = ("W_enc", "b_enc", "W_dec", "b_dec", *(("threshold",) if kind == "jumprelu" else ()))
    tensors = _tensors(folder / WEIGHTS, names, int(config["d_in"]), int(config["d_sae"]))
    sae = Autoencoder(
        *(tensors[name] for name in names[:4]),
        k=int(config["k"]) if kind == "topk" else None,
        threshold=tensors.get("threshold"),
        centred=bool(config.get("apply_b_dec_to_input", True)),
    )
    if kind == "topk" and not 1 <= int(config["k"]) <= sae.n_latents:
        raise _unsupported(folder, f"k {config['k']} of {sae.n_latents} latents", "between 1 and their number")
    rescaled = kind == "topk" and config.get("rescale_acts_by_decoder_norm", False)
    return Held(sae.with_unit_rows() if rescaled else sae, layer, metadata.get("legible") or {})


def _gemma(folder: Path) -> Held:
    config = _json(folder / "config.json") if (folder / "config.json").is_file() else {}
    if (kind := config.get("architecture", "jump_relu")) != "jump_relu":
        raise _unsupported(folder, f"architecture {kind!r}", "jump_relu")
    hooks = [config[key] for key in ("hf_hook_point_in", "hf_hook_point_out") if config.get(key) is not None]
    layers = {_layer(folder, hook) for hook in hooks}
    if len(layers) > 1:
        raise _unsupported(folder, f"what maps {hooks[0]} to {hooks[1]}", "an autoencoder, which gives its input back")
    if not layers and (found := re.search(r"layer_(\d+)", folder.resolve().name)):
        layers = {int(found[1])}
    names = ("w_enc", "b_enc", "w_dec", "b_dec", "threshold")
    tensors = _tensors(folder / GEMMA, names)
    sae = Autoencoder(*(tensors[name] for name in names[:4]), threshold=tensors["threshold"], centred=False)
    return Held(sae, next(iter(layers), None))


def _llama(folder: Path) -> Held:
    config = _json(folder / LLAMA)
    if (kind := config.get("act_fn")) != "jumprelu" or config.get("use_glu_encoder", False):
        raise _unsupported(folder, f"act_fn {kind!r}", "jumprelu without a gated encoder")
    hooks = config.get("hook_point_in"), config.get("hook_point_out")
    if hooks[0] != hooks[1]:
        raise _unsupported(folder, f"what maps {hooks[0]} to {hooks[1]}", "an autoencoder, which gives its input back")
    if (how := config.get("norm_activation", "dataset-wise")) not in ("dataset-wise", "inference"):
        raise _unsupported(folder, f"norm_activation {how!r}", "dataset-wise or inference")
    layer = _layer(folder, hooks[0])
    names = ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")
    encoder, b_enc, decoder, b_dec = (_tensors(folder / LLAMA_WEIGHTS, names)[name] for name in names)
    scale = config["dataset_average_activation_norm"]["in"] / len(b_dec) ** 0.5 if how == "dataset-wise" else 1.0
    weighed = config.get("sparsity_include_decoder_norm", True)  # its gate then weighs a latent by its row's length
    norms = decoder.norm(dim=0).clamp(min=1e-8) if weighed else torch.ones(len(b_enc))
    sae = Autoencoder(
        encoder.T * norms, b_enc * scale * norms, decoder.T / norms[:, None], b_dec * scale,
        threshold=torch.full((len(b_enc),), float(config["jump_relu_threshold"])),
        centred=bool(config.get("apply_decoder_bias_to_pre_encoder", False)),
    )  # fmt: skip
    return Held(sae, layer)


def _layer(folder: Path, hook: object) -> int:
    """The layer K of a place in a model."""
    for pattern, before in _HOOKS:
        if (found := pattern.fullmatch(str(hook))) and int(found[1]) >= before:
            return int(found[1]) - before
    raise _unsupported(folder, f"of the place {hook!r}", "the stream after a block, such as blocks.12.hook_resid_post")


def _tensors(
    path: Path, names: tuple[str, ...], d_model: int | None = None, n_latents: int | None = None
) -> dict[str, Tensor]:
    """Exactly these tensors, in float32.

    Raises:
        UsageError: no such file, other tensors, or shapes that do not fit each other or the configuration.
    """
    if not path.is_file():
        raise UsageError(f"no file {path}.\n  The usual cause is half a download: fetch the whole folder.")
    try:
        found = {name: value.float() for name, value in load_file(path).items()}
    except SafetensorError as error:
        raise UsageError(f"{path} is not a whole safetensors file ({error}).\n  Copy it again.") from None
    if found.keys() != set(names):
        raise _unsupported(path, f"tensors {', '.join(sorted(found))}", ", ".join(names))
    encoder = found[names[0]]
    rows = encoder.T if names[0] == "encoder.weight" else encoder
    decoder = found[names[2]].T if names[0] == "encoder.weight" else found[names[2]]
    d, n = rows.shape if rows.ndim == 2 else (0, 0)
    shapes = {tuple(decoder.shape) == (n, d), *(found[name].shape == (n,) for name in (names[1], *names[4:]))}
    if shapes != {True} or found[names[3]].shape != (d,) or (d_model, n_latents) not in ((None, None), (d, n)):
        said = ", ".join(f"{name} {tuple(value.shape)}" for name, value in found.items())
        wanted = "one shape throughout" if d_model is None else f"{d_model} wide with {n_latents} latents throughout"
        raise _unsupported(path, said, wanted)
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is not JSON ({error}).\n  Copy it again from where it came.") from None
    if not isinstance(value, dict):
        raise UsageError(f"{path} is no JSON object.\n  Copy it again from where it came.")
    return value


def _unsupported(where: Path, found: str, expected: str) -> UsageError:
    return UsageError(
        f"{where}: found {found}, expected {expected}.\n"
        "  The usual cause is another kind of dictionary than those that Legible reads.\n"
        "  Train one: legible instrument sae MODEL STORE --out FOLDER"
    )
