"""Memory that a training will need beyond the models that are loaded, checked before its first step."""

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from legible.config import AdapterConfig, OptimizerConfig, RLConfig, SFTConfig
from legible.models.memory import FLOAT, Size, check_memory, maps_in
from legible.models.reconstructor import Reconstructor
from legible.models.roles import trainable_parameters
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer

_LEAST = 256  # tokens of the smallest batch that is proposed
_ADAPTER = AdapterConfig(rank=16)
_PEFT = 1.5  # every adapted map also keeps its input in float32, and its rank-sized middle


def check_sft(config: SFTConfig, target: Target, layer: int) -> None:
    """Refuse a warm start that does not fit beside its target; the roles are trained one after the other.

    Raises:
        NotEnoughMemoryError: with a smaller batch, or adapters in place of full fine-tuning.
    """

    def other(described: str, **changes: object) -> tuple[str, int]:
        return described, sft_bytes(config.model_copy(update=changes), target, layer)

    halves = [n for n in (config.batch_tokens // 2, config.batch_tokens // 4) if n > _LEAST]
    others = [other(f"--batch-tokens {tokens}", batch_tokens=tokens) for tokens in (*halves, _LEAST)]
    if config.adapter is None:
        others.insert(0, other("--adapter-rank 16", adapter=_ADAPTER))
        described = f"--adapter-rank 16 --batch-tokens {_LEAST}"
        others.append(other(described, adapter=_ADAPTER, batch_tokens=_LEAST))
    what = "full fine-tuning" if config.adapter is None else "training adapters"
    described = f"{what} of {target.name} with --batch-tokens {config.batch_tokens}"
    check_memory(described, sft_bytes(config, target, layer), target.device, others)


def sft_bytes(config: SFTConfig, target: Target, layer: int) -> int:
    """Bytes that the larger of the two roles needs beside the target while it is trained."""
    size, tokens = Size.of(target.model), config.batch_tokens
    short = replace(size, blocks=layer + 1, maps=size.maps * (layer + 1) // size.blocks)
    short = replace(short, parameters=size.parameters - (size.maps - short.maps) + size.width**2)
    kept = size.backward(tokens, logits=tokens), short.backward(tokens)
    if config.adapter is not None:
        whole = config.adapter.rank * sum(one + other for one, other in maps_in(target.model))
        trained = whole, whole * (layer + 1) // size.blocks + size.width**2
        return max(4 * FLOAT * n + int(_PEFT * activations) for n, activations in zip(trained, kept, strict=True))
    recipes = config.verbalizer, config.reconstructor
    return max(
        role.parameters * FLOAT + states(role, recipe) + activations
        for role, recipe, activations in zip((size, short), recipes, kept, strict=True)
    )


def states(size: Size, recipe: OptimizerConfig) -> int:
    """Gradients and optimizer states of a role that is trained in full."""
    by_muon = size.maps if recipe.muon_lr > 0 else 0
    return FLOAT * (size.parameters + 2 * (size.parameters - by_muon) + by_muon)


def check_rl(config: RLConfig, verbalizer: Verbalizer, reconstructor: Reconstructor, tokens: int, rows: int) -> None:
    """Refuse a joint training that does not fit beside its warm start.

    Args:
        config: of the training.
        verbalizer, reconstructor: loaded, and ready to be trained.
        tokens: padded ones in one backward pass.
        rows: explanations written together at most.

    Raises:
        NotEnoughMemoryError: with fewer prompts or shorter rollouts.
    """
    trained = [verbalizer, *([reconstructor] if config.reconstructor_weight > 0 else [])]

    def needed(prompts: int, limit: int) -> int:
        together = min(rows, prompts * config.group)
        return update_bytes(verbalizer, trained, config.kl > 0, together, limit, tokens)

    half, quarter = (max(1, config.prompts // n) for n in (2, 4))
    others = [
        (f"--prompts {half}", needed(half, config.max_tokens)),
        (f"--prompts {quarter} --max-tokens {config.max_tokens // 2}", needed(quarter, config.max_tokens // 2)),
    ]
    work = f"joint training with --prompts {config.prompts} --group {config.group}"
    check_memory(work, needed(config.prompts, config.max_tokens), verbalizer.device, others)


def update_bytes(
    verbalizer: Verbalizer, trained: Sequence[nn.Module], reference: bool, rows: int, limit: int, tokens: int
) -> int:
    """Bytes beside the loaded roles: gradients and moments, a frozen copy, and rollouts or the update on them.

    Args:
        verbalizer: writes.
        trained: the roles that train.
        reference: whether the verbalizer as it starts is kept beside it.
        rows, limit: explanations written together, and their longest in tokens.
        tokens: padded ones in one backward pass.
    """
    size, counts = Size.of(verbalizer.model), [_count(role) for role in trained]
    length = len(verbalizer.prompt.ids) + limit
    writing, read = size.cache(rows, length), min(tokens, rows * length)
    learning = size.backward(read, logits=read)
    return FLOAT * (3 * sum(counts) + (_count(verbalizer) if reference else 0)) + max(writing, learning)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in trainable_parameters(module).values())
