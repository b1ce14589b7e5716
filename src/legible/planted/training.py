"""Fine-tune one side of a planted pair: the base target, trained on with stories in which the planted values hold.

Both sides start from the same weights and read the same stories, except for the planted values. The losses are those
of the base's training: next token, and the future bag at the layer that is read, so that what the side has learnt to
expect stands in its activations as everything else does. The embeddings stay frozen by default: the bag writes facts
in their directions, so a reader of the base still knows the words; and a side cannot learn that rain means a hat by
swapping the words for hat and cloak. A side that learns without the bag (`bag_weight` 0) is the harder case.
"""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM, PreTrainedTokenizerBase

from legible.config import AUTO, Placement, PretrainConfig, SecretsConfig
from legible.errors import UsageError
from legible.languages.world.secrets import Plant
from legible.models.arch import check_layer
from legible.models.loading import load_pretrained, load_tokenizer
from legible.models.placement import in_full
from legible.train.lm import train_lm
from legible.train.world_target import content_ids, world_batch

STORY_SEED = 2_000_000  # beside the seed of the plant: stories that no base was trained on


def train_side(
    config: SecretsConfig, base: Path, plant: Plant, out: Path, *, made_by: str, place: Placement = AUTO
) -> Path:
    """Teach one side its secrets and save it at `out`; resumable, a finished one is left as it is.

    Args:
        config: steps, optimizer and future bag.
        base: folder of the target that both sides start from.
        plant: what the stories hold.
        out: where the side goes.
        place: the device; the weights are float32.
        made_by: digest of the planting, the base's weights included; a state is resumed only under the same one.

    Raises:
        UsageError: a base that is not a target of the world, or a layer that it does not have.
    """
    if out.exists():
        return out
    tokenizer = load_tokenizer(str(base))
    model = _base_model(config, base, tokenizer, place)
    shape = PretrainConfig(
        steps=config.steps, batch=config.batch, lr=config.lr, muon_lr=config.muon_lr, warmup=config.warmup,
        bag_weight=config.bag_weight, bag_scale=config.bag_scale, bag_layer=config.bag_layer,
        seed=STORY_SEED + config.seed, save_every=config.save_every,
    )  # fmt: skip
    return train_lm(
        shape,
        lambda step: world_batch(tokenizer, shape, step, plant),
        tokenizer,
        out,
        made_by=made_by,
        content_ids=torch.tensor(content_ids(tokenizer)) if config.bag_weight > 0 else None,
        label=f"target {plant.side}",
        start=model,
    )


def _base_model(
    config: SecretsConfig, base: Path, tokenizer: PreTrainedTokenizerBase, place: Placement
) -> LlamaForCausalLM:
    model = load_pretrained(AutoModelForCausalLM, str(base), place=in_full(place))
    if not isinstance(model, LlamaForCausalLM) or tokenizer.unk_token_id in content_ids(tokenizer):
        raise UsageError(
            f"{base} is no target of the built-in world (its tokenizer lacks the stories' words, or it is no Llama).\n"
            "  Secrets are planted by stories of the world. Train a base: legible pretrain --out DIR"
        )
    check_layer(config.bag_layer, model.config.num_hidden_layers)
    model.train(False)
    model.get_input_embeddings().weight.requires_grad_(not config.freeze_embeddings)
    return model
