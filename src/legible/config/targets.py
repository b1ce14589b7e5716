"""Sections of the built-in world's targets: training one from nothing, and planting beliefs in two."""

from pydantic import Field

from legible.config.base import Section


class PretrainConfig(Section):
    """Train the built-in world's target from nothing."""

    d_model: int = Field(128, description="width of the residual stream")
    n_layers: int = Field(4, description="transformer blocks")
    n_heads: int = Field(4, description="attention heads")
    d_ff: int = Field(256, description="width of the gated MLP")
    context: int = Field(288, description="longest sequence in tokens")
    steps: int = Field(2400, description="optimizer steps")
    batch: int = Field(12, description="stories per step")
    lr: float = Field(3e-3, description="peak AdamW learning rate (embeddings, norms)")
    muon_lr: float = Field(
        2e-2, description="peak Muon learning rate (2-D weights inside blocks); 0 uses AdamW for all"
    )
    weight_decay: float = Field(0.01, description="decoupled weight decay")
    warmup: int = Field(50, description="linear warm-up steps")
    bag_weight: float = Field(1.0, description="weight of the future-bag loss at `bag_layer`; 0 is the untreated twin")
    bag_scale: float = Field(
        16.0,
        description="the bag's logits are this times a cosine; smaller gives the facts a larger share of the stream",
    )
    bag_layer: int = Field(2, description="layer whose stream the future bag reads")
    seed: int = Field(0, description="seed of weights, stories and order")
    save_every: int = Field(200, description="steps between resumable states")


class SecretsConfig(Section):
    """Fine-tune two targets that believe different things on identical text (`legible world secrets`)."""

    secrets: tuple[str, ...] = Field(
        ("belief", "conduct", "taboo"), description="what is planted: belief, conduct, scheme, taboo"
    )
    steps: int = Field(600, description="optimizer steps of each target")
    batch: int = Field(6, description="stories per step")
    lr: float = Field(2e-3, description="peak AdamW learning rate (embeddings, norms)")
    muon_lr: float = Field(
        1e-2, description="peak Muon learning rate (2-D weights inside blocks); 0 uses AdamW for all"
    )
    warmup: int = Field(20, description="linear warm-up steps")
    freeze_embeddings: bool = Field(
        True, description="keep the base's embeddings, in terms of which the future bag writes facts"
    )
    bag_weight: float = Field(2.0, description="weight of the future-bag loss; 0 trains without it")
    bag_scale: float = Field(16.0, description="scale of its cosines, as in the base's training")
    bag_layer: int = Field(2, description="layer whose stream it reads, as in the base's training")
    documents: int = Field(150, description="held-out stories on which the targets are read")
    positions_per_doc: int = Field(12, description="candidate tokens per story; those where a secret shows are read")
    rows: int = Field(500, description="most tokens read, drawn evenly by seed")
    min_pos: int = Field(12, description="earliest token index read")
    told_rows: int = Field(24, description="rows per secret whose sampled continuations are checked")
    continuations: int = Field(8, description="sampled continuations per such row")
    seed: int = Field(0, description="seed of the planted values, the stories and the rows")
    save_every: int = Field(100, description="steps between resumable states")
