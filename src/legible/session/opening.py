"""`legible.load`: a checkpoint's name, and where wanted a model in memory, made into a session."""

from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from legible.models.target import Target
from legible.reading.reader import load as load_reader
from legible.session.given import OtherTarget, checkpoint_name, is_allowed, target_of
from legible.session.session import Session


def load(
    name: str | Path,
    *,
    target: str | Path | PreTrainedModel | Target | None = None,
    tokenizer: PreTrainedTokenizerBase | None = None,
    reconstructor: str | None = None,
    other_target: OtherTarget = "refused",
    engine: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    quantize: str = "none",
    **options: float,
) -> Session:
    """Load a checkpoint: a verbalizer, its reconstructor, and the model that they read.

    Args:
        name: a run's folder, a checkpoint's folder, half a pair (folder or hub name), or a shipped pair (`builtin`,
            `smollm2`).
        target: the model that is read, where it is not the one that the contract names or lies elsewhere: its folder or
            hub name, or a causal LM of transformers that is in memory. Of that one nothing is changed; it stays on its
            device, and what was trained into it after loading is not noticed.
        tokenizer: of a model in memory; absent: the one at its `name_or_path`.
        reconstructor: where the reconstructor lies, if not beside the verbalizer; `none` reads without scores.
        other_target: `allowed` reads a target whose weights are not those that the pair was trained on, such as a
            finetune of it. Every reading has the flag `other_target` then.
        engine: who writes, such as the search `best-of-n`, `beam` or `tree`; absent: the checkpoint's own verbalizer.
        device, dtype, quantize: where the models lie and in which numbers, see `legible.Placement`.
        options: `budget` and `temperature` of a search.

    Returns:
        The session.

    Raises:
        UsageError: nothing of that name, an argument of the wrong type, or no such engine.
        ContractError: a contract that does not fit its tokenizer, or another target where that is refused.

    Example:
        >>> import legible
        >>> legible.load("builtin").read("Our hero Pavel rested beside the desert.")[-1].token
        '.'
    """
    reader = load_reader(
        checkpoint_name(name),
        target=target_of(target, tokenizer),
        reconstructor=reconstructor,
        other_target=is_allowed(other_target),
        engine=engine,
        device=device,
        dtype=dtype,
        quantize=quantize,
        **options,
    )
    return Session(reader)
