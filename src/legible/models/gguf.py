"""GGUF files as model directories: each is converted once into the cache, and proved whole whenever it is used.

transformers dequantises the weights, to float32; its files are data, and nothing in them runs. What it would get wrong
in silence is put right (`legible.models.gguf_tokenizer`, `_rope`) or refused: weights that it makes no use of, weights
that the file lacks, scalings of positions that are not known here.
"""

import io
import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch
from filelock import FileLock
from transformers import AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.integrations.gguf.reader import read_gguf_metadata
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from legible.errors import UnsupportedModelError, UsageError
from legible.fileio import cache_dir, file_sha256, refuse_pointer, write_directory, write_json
from legible.models.gguf_tokenizer import gguf_tokenizer
from legible.models.place import one_line, quietly
from legible.progress import note

MANIFEST = "converted.json"
ARCHITECTURES = ("gemma3", "gpt2", "llama", "qwen2", "qwen3")
"""`general.architecture` of the files that can be read; Mistral's files say `llama`."""
_MAKER = 1  # raise it when a conversion writes something else than before
_FACTORS = "rope_freqs.weight"
_GEMMA3_27B = 62  # blocks; the one Gemma 3 whose attention is not scaled by the width of its keys
_proved: dict[tuple[str, int, int], Path] = {}  # (path, size, time written) -> its conversion, proved by this process


def converted(path: Path, sha256: str | None = None) -> Path:
    """The model directory that a GGUF file was converted into, from the cache or made now.

    Args:
        path: the file.
        sha256: its checksum, where the caller has just taken it.

    Raises:
        UsageError: no whole GGUF file, no room for the conversion, or the extra `gguf` is not installed.
        UnsupportedModelError: a model, tokenizer or scaling of positions that is not known here.
        OSError: the cache cannot be written.
    """
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    if key not in _proved:
        _check_file(path)
        _check_extra(path)
        made_from = {"gguf_sha256": sha256 or file_sha256(path), "maker": _MAKER, **_versions()}
        _proved[key] = _kept(path, made_from)
    return _proved[key]


def only_gguf(folder: Path) -> Path | None:
    """The GGUF file of a folder that is no model directory itself; None where there is none.

    Raises:
        UsageError: there are several.
    """
    files = sorted(folder.glob("*.gguf"))
    if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):
        return None
    if len(files) > 1:
        raise several(str(folder), [str(file) for file in files])
    return files[0] if files else None


def width_in(path: Path) -> int | None:
    """Width of the stream by the head of a GGUF file; None where it does not say it, or the file is none."""
    try:
        metadata, _ = read_gguf_metadata(str(path))
        return int(metadata[f"{metadata['general.architecture']}.embedding_length"])
    except Exception:  # noqa: BLE001  of any kind, where a file is cut short; its conversion says what is wrong
        return None


def several(place: str, files: Sequence[str]) -> UsageError:
    """The error where one of several GGUF files has to be chosen."""
    listed = "".join(f"\n    {file}" for file in files)
    return UsageError(f"{place} holds {len(files)} GGUF files; name the one to read:{listed}")


def _check_file(path: Path) -> None:
    refuse_pointer(path)
    with path.open("rb") as handle:
        magic = handle.read(4)
    if magic != b"GGUF":
        raise UsageError(
            f"{path} is no GGUF file: it begins with {magic!r}, expected b'GGUF'.\n"
            "  The usual cause is a web page saved in its place, or an older format. Get the file again."
        )


def _check_extra(path: Path) -> None:
    try:
        import accelerate  # noqa: F401  both are what transformers needs for such files
        import gguf  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"{path} is a GGUF file, which takes the package {error.name} to read.\n"
            '  Install the extra: pip install "legible-nla[gguf]"'
        ) from None


def _versions() -> dict[str, str]:
    """What decides the bytes of a conversion beside the file."""
    return {name: version(name) for name in ("transformers", "gguf", "tokenizers")}


def _kept(path: Path, made_from: dict[str, Any]) -> Path:
    """The whole conversion of a file in the cache; a missing, half-written or damaged one is made."""
    made = "-".join(str(made_from[name]) for name in ("maker", "transformers", "gguf", "tokenizers"))
    folder = cache_dir() / "gguf" / f"{made_from['gguf_sha256'][:20]}-{made}"
    if _is_whole(folder, made_from):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        if _is_whole(folder, made_from):  # another process made it meanwhile
            return folder
        again = " again: what is kept there is damaged" if folder.exists() else ", once"
        note(f"gguf: converting {path} into {folder}{again}")
        write_directory(folder, lambda temporary: _convert(path, temporary, made_from))
    return folder


def _is_whole(folder: Path, made_from: dict[str, Any]) -> bool:
    """Whether a conversion is the one asked for and every byte of it is as written."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = manifest.pop("files")
        return manifest == made_from and all(file_sha256(folder / name) == sha256 for name, sha256 in files.items())
    except (OSError, ValueError, KeyError, AttributeError):
        return False


def _convert(path: Path, out: Path, made_from: dict[str, Any]) -> None:
    """Write config, weights, tokenizer and, last, the manifest with the checksum of each."""
    try:
        metadata, names = read_gguf_metadata(str(path))
        _check_kind(path, metadata)
        tokenizer = gguf_tokenizer(path)
        model = _dequantised(path, metadata, names, out)
    except UsageError:
        raise
    except Exception as error:  # of any kind, where a file is cut short or holds what transformers does not expect
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of what the file holds
            raise
        raise UsageError(
            f"cannot read the GGUF file {path}: {one_line(error)}\n"
            "  The usual cause is a damaged or shortened file. Compare its size with the original's and get it again."
        ) from error
    with quietly():
        model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    files = {file.name: file_sha256(file) for file in sorted(out.iterdir())}
    write_json(out / MANIFEST, {**made_from, "files": files})


def _check_kind(path: Path, metadata: Mapping[str, Any]) -> None:
    architecture = metadata["general.architecture"]
    if architecture not in ARCHITECTURES:
        raise UnsupportedModelError(
            f"{path} holds a model of the architecture {architecture!r}, which is not supported.\n"
            f"  Supported in GGUF files: {', '.join(ARCHITECTURES)}."
        )
    if metadata.get("split.count", 1) > 1:
        raise UsageError(
            f"{path} is one of {metadata['split.count']} parts of a split model.\n"
            "  Put them together first: llama-gguf-split --merge FIRST-PART WHOLE.gguf"
        )

    if "tokenizer.ggml.tokens" not in metadata:
        raise UsageError(
            f"{path} holds no tokenizer: it is no whole language model.\n"
            "  The usual cause is an adapter, a vision part or an embedding model. Use the file of the model itself."
        )


def _dequantised(path: Path, metadata: Mapping[str, Any], names: Sequence[str], out: Path) -> PreTrainedModel:
    """The model in float32, free to be saved, with the file's ends of texts and scaling of positions."""
    with quietly(), redirect_stderr(io.StringIO()):  # a progress bar that no setting of transformers turns off
        auto: Any = AutoModelForCausalLM
        model, info = auto.from_pretrained(
            str(path.parent), gguf_file=path.name, dtype=torch.float32, output_loading_info=True
        )
    if missing := sorted(info["missing_keys"]):
        raise UnsupportedModelError(
            f"{path} lacks {', '.join(missing[:3])}{' and more' if len(missing) > 3 else ''}, which "
            f"{type(model).__name__} needs.\n  The usual cause is a variant of the model that transformers cannot read."
        )
    _check_all_used(path, model, metadata["general.architecture"], set(names) - {_FACTORS})
    _check_room(model.num_parameters() * 4, out)
    config = model.config
    _positions(config, path, metadata, _FACTORS in names)
    ends = [metadata.get(f"tokenizer.ggml.{name}_token_id") for name in ("eos", "eot", "eom")]
    model.generation_config.eos_token_id = sorted({end for end in ends if end is not None}) or None
    for name in ("_model_name_or_path", "quantization_config"):
        config.__dict__.pop(name, None)
    with torch.device("meta"):
        free = AutoModelForCausalLM.from_config(config)  # a model that came from a GGUF file refuses to be saved
    free.load_state_dict(model.state_dict(), assign=True)
    free.tie_weights()
    free.generation_config = model.generation_config
    return cast(PreTrainedModel, free)


def _check_all_used(path: Path, model: PreTrainedModel, architecture: str, names: set[str]) -> None:
    """Refuse a file with weights that transformers passes over in silence, such as biases that its class lacks."""
    if len(names) == len({id(weight) for weight in model.state_dict(keep_vars=True).values()}):
        return
    from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

    processor = TENSOR_PROCESSORS.get(architecture, TensorProcessor)(config=model.config.to_dict())
    used = get_gguf_hf_weights_map(model, processor)
    if unused := sorted(names - set(used) - {"output.weight"}):  # its name is not in the map of GPT-2
        raise UnsupportedModelError(
            f"{path} holds {', '.join(unused[:3])}{' and more' if len(unused) > 3 else ''}, which transformers leaves "
            f"out of its {type(model).__name__}: it would be another model.\n"
            "  Use the original model directory instead of the GGUF file."
        )


def _check_room(needed: int, out: Path) -> None:
    free = shutil.disk_usage(out).free
    if free < needed:
        raise UsageError(
            f"the conversion takes {needed / 1e9:.1f} GB, but {free / 1e9:.1f} GB are free at {cache_dir()}.\n"
            "  Free some space, or name another folder: LEGIBLE_CACHE=DIR"
        )


def _positions(config: PreTrainedConfig, path: Path, metadata: Mapping[str, Any], has_factors: bool) -> None:
    """Set in the config what a file says of positions and attention and transformers passes over."""
    architecture = metadata["general.architecture"]
    scaling = metadata.get(f"{architecture}.rope.scaling.type", "none")
    factor = float(metadata.get(f"{architecture}.rope.scaling.factor", 1.0))
    if scaling == "linear" and factor != 1.0:
        rope = config.rope_parameters
        rope = rope.get("full_attention", rope)  # Gemma 3 scales its blocks of full attention only
        rope.update({"rope_type": "linear", "factor": factor})
    elif scaling not in ("none", "linear"):
        raise UnsupportedModelError(
            f"{path} scales positions by {scaling!r}, which is not supported in GGUF files.\n"
            "  Use the original model directory instead."
        )
    if has_factors:
        _llama3_factors(config, path)
    if architecture == "gemma3":
        a_head = config.hidden_size // config.num_attention_heads
        config.query_pre_attn_scalar = a_head if config.num_hidden_layers == _GEMMA3_27B else config.head_dim


def _llama3_factors(config: PreTrainedConfig, path: Path) -> None:
    """Set Llama 3's scaling of positions where the file's factors are those that it gives.

    Raises:
        UnsupportedModelError: they are of another kind.
    """
    from gguf import GGUFReader

    tensor = next(tensor for tensor in GGUFReader(path).tensors if tensor.name == _FACTORS)
    factors = torch.tensor(tensor.data.copy(), dtype=torch.float32).flatten()
    if bool((factors == 1).all()):
        return
    plain = dict(config.rope_parameters)
    width = config.head_dim
    inverse = plain["rope_theta"] ** -(torch.arange(0, width, 2, dtype=torch.float32) / width)
    config.rope_parameters = {
        **plain,
        "rope_type": "llama3",
        "factor": float(factors.max()),
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    scaled = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))[0]
    if not torch.allclose(inverse / factors, scaled, rtol=1e-4):
        raise UnsupportedModelError(
            f"{path} scales positions by its own factors ({_FACTORS}), which are not those of Llama 3.\n"
            "  Use the original model directory instead of the GGUF file."
        )
