"""The sidecars as types: every spelling is read, the newest written with the older ones beside it.

Layer K is the residual stream after block K, counted from 0; a reconstructor for it keeps K + 1 blocks. The newest key
is `extraction_layer_index`. The older `num_hidden_layers` of a sidecar is K too, as the reference writes and reads it,
although config.json says K + 1 under that name; some writers copied that count, so both are read. Keys that we do not
know are kept and written back.
"""

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Scale = float | Literal["sqrt_d_model"] | None
"""A norm, sqrt(d_model), or null: raw."""


class _Open(BaseModel):
    """Other tools may add keys: they are kept."""

    model_config = ConfigDict(extra="allow")


class _Ours(BaseModel):
    """Our own keys: an unknown one is an error."""

    model_config = ConfigDict(extra="forbid")


class InjectionRecord(_Ours):
    """How a vector enters the prompt: in place of an embedding, or added after a block (norm-matched)."""

    mode: Literal["replace", "add"] = "replace"
    block: int = 1
    map: Literal["affine"] | None = None  # what the scaled vector goes through first


class VarianceRecord(_Ours):
    """The V behind every FVE shown with a checkpoint."""

    value: float = Field(gt=0, le=1)
    n: int
    split: str = "train"
    positions: str = ""
    documents: int | None = None
    short_documents: int | None = None  # how many of these are texts of one to three sentences of the language's own


class TargetRecord(_Ours):
    """The model under study; `sha256` is over its weights."""

    id: str
    revision: str | None = None
    sha256: str | None = None


class PromptIds(_Ours):
    """A prompt as token ids around the vector (verbalizer) or the explanation (reconstructor)."""

    prefix_ids: list[int] = []
    suffix_ids: list[int] = []
    placeholder_id: int | None = None
    stop_ids: list[int] = []
    banned_ids: list[int] = []
    tags: bool = False


class PromptRecord(_Ours):
    """The prompts of both roles."""

    av: PromptIds | None = None
    ar: PromptIds | None = None


class CalibratorRecord(_Ours):
    """The calibrator behind p_true: a file of the checkpoint's folder, and what it was fitted on, in words."""

    file: str
    fitted_on: str = ""


class BlocksRecord(_Ours):
    """Which of the target's blocks the roles keep; absent: all of the verbalizer's, 0..K of the reconstructor's."""

    av: list[int] | None = None
    ar: list[int] | None = None


class LegibleExtra(_Ours):
    """What is ours alone, under `legible:`."""

    injection: InjectionRecord = InjectionRecord()
    variance: VarianceRecord | None = None
    target: TargetRecord | None = None
    site: str = "resid_post"
    layer: int | None = None
    blocks: BlocksRecord | None = None
    output_ids: int | None = None  # how many the verbalizer's own head writes; absent: the whole vocabulary
    teacher: str | None = None
    language: str | None = None  # unknown ones are refused when the pair is opened
    corpus: str | None = None
    prompt: PromptRecord | None = None
    bos: bool | None = None  # absent in a released checkpoint: its template is read with special tokens
    calibrator: CalibratorRecord | None = None
    metrics_version: int = 1
    metrics: dict[str, Any] = {}
    parents: list[str] = []
    seed: int | None = None
    commit: str | None = None


class Tokens(_Open):
    """The marker: one token, its neighbours in the rendered prompt, and the end of the reconstructor's prompt."""

    injection_char: str
    injection_token_id: int
    injection_left_neighbor_id: int
    injection_right_neighbor_id: int
    critic_suffix_ids: list[int] | None = None


class Templates(_Open):
    """Prompt texts: `av` holds `{injection_char}` once, `ar` holds `{explanation}` once."""

    av: str | None = None
    ar: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _spellings(cls, data: Any) -> Any:
        return _renamed(data, {"actor": "av", "critic": "ar"})


class Scales(_Open):
    """Norms at injection (no default) and at scoring."""

    injection_scale: Scale
    mse_scale: Scale = "sqrt_d_model"

    @field_validator("injection_scale", "mse_scale", mode="before")
    @classmethod
    def _raw(cls, value: Any) -> Any:
        return None if value in ("raw", "none") else value


class ModelContract(_Open):
    """`nla_meta.yaml` of one role. `extraction_layer_index` is K; `base_checkpoint` names the target."""

    kind: Literal["nla_model"] = "nla_model"
    schema_version: Literal[1, 2] = 2
    role: Literal["av", "ar"]
    d_model: int = Field(gt=0)
    base_checkpoint: str | None = None
    extraction_layer_index: int | None = Field(None, ge=0)
    counted: int | None = Field(None, exclude=True)  # a num_hidden_layers that stands alone: K, or K + 1 blocks
    extraction: Scales
    tokens: Tokens | None = None
    prompt_templates: Templates = Field(default_factory=Templates)
    legible: LegibleExtra | None = None

    @model_validator(mode="before")
    @classmethod
    def _spellings(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        data["role"] = {"actor": "av", "critic": "ar"}.get(data.get("role", ""), data.get("role"))
        if isinstance(data.get("extraction"), dict) and "d_model" not in data and "d_model" in data["extraction"]:
            data["d_model"] = data["extraction"]["d_model"]
        layer, counted = _layer(data)
        data.pop("critic", None), data.pop("ar", None)
        return data if layer is None else {**data, "extraction_layer_index": layer, "counted": counted}

    @property
    def layer(self) -> int | None:
        """Layer K, where the sidecar names it; a `num_hidden_layers` that stands alone is taken as K."""
        return self.extraction_layer_index

    def may_mean(self, layer: int) -> bool:
        """Whether the sidecar leaves room for this layer: it names none, or this one, in a spelling that is in use."""
        return self.layer in (None, layer) or (self.counted is not None and layer == self.counted - 1)

    def as_written(self) -> dict[str, Any]:
        """The newest spelling with the older ones beside it."""
        data = self.model_dump(mode="json")
        data["prompt_templates"] |= {"actor": self.prompt_templates.av, "critic": self.prompt_templates.ar}
        if self.role == "ar" and self.layer is not None:
            data["critic"] = {"extraction_layer_index": self.layer, "num_hidden_layers": self.layer}
        return _without_none(data, keep=("injection_scale", "mse_scale"))


class Extraction(_Open):
    """Where a dataset's vectors come from; `norm` is always none: vectors on disk are raw."""

    base_model: str
    d_model: int = Field(gt=0)
    layer_index: int = Field(ge=0)
    norm: Literal["none"] = "none"
    corpus: str | None = None
    corpus_slice: Any = None
    positions_per_doc: int | None = None
    injection_scale: Scale = None
    mse_scale: Scale = "sqrt_d_model"

    @field_validator("norm", mode="before")
    @classmethod
    def _null(cls, value: Any) -> Any:
        return "none" if value is None else value


class ApiSummaries(_Open):
    """The teacher of an explained dataset."""

    model: str
    max_tokens: int | None = None
    temperature: float | None = None
    instruction_prompt: str | None = None


class DatasetContract(_Open):
    """`NAME.parquet.nla_meta.yaml`."""

    kind: Literal["nla_dataset"] = "nla_dataset"
    schema_version: Literal[1, 2] = 1
    dataset_id: str
    stage: Literal["base", "av_sft", "ar_sft", "rl"]
    row_count: int = Field(ge=0)
    extraction: Extraction
    tokens: Tokens | None = None
    prompt_templates: Templates = Field(default_factory=Templates)
    api_summaries: ApiSummaries | None = None
    parent_datasets: list[Any] = []
    created_at: Any = None
    created_by: str | None = None
    git_commit: str | None = None
    legible: LegibleExtra | None = None

    def as_written(self) -> dict[str, Any]:
        """The spelling of the public tools: templates under `actor` and `critic` too."""
        data = self.model_dump(mode="json")
        data["prompt_templates"] |= {"actor": self.prompt_templates.av, "critic": self.prompt_templates.ar}
        if "injection_scale" not in self.extraction.model_fields_set:
            del data["extraction"]["injection_scale"]
        return _without_none(data, keep=("injection_scale", "mse_scale"))


def resolve_scale(scale: Scale, d_model: int) -> float | None:
    """The norm that a scale names: a number, sqrt(d_model), or None for raw vectors."""
    return math.sqrt(d_model) if scale == "sqrt_d_model" else scale


def _layer(data: dict[str, Any]) -> tuple[int | None, int | None]:
    """Layer K under whichever spelling there is, and the older number where that one stands alone.

    Raises:
        ValueError: spellings that no meaning of theirs brings together.
    """
    blocks = [data, data.get("critic"), data.get("ar")]
    named = {k for block in blocks if (k := _number(block, "extraction_layer_index")) is not None}
    counted = {n for block in blocks[1:] if (n := _number(block, "num_hidden_layers")) is not None}
    if len(named) > 1 or len(counted) > 1 or any(n - k not in (0, 1) for n in counted for k in named):
        told = [f"extraction_layer_index {k}" for k in sorted(named)]
        told += [f"num_hidden_layers {n}" for n in sorted(counted)]
        raise ValueError(
            f"the layer is given as {', '.join(told)}: expected one K (num_hidden_layers may also be K + 1, the blocks)"
        )
    if named:
        return named.pop(), None
    return (n, n) if (n := next(iter(counted), None)) is not None else (None, None)


def _number(block: Any, key: str) -> int | None:
    value = block.get(key) if isinstance(block, dict) else None
    return value if isinstance(value, int) else None


def _renamed(data: Any, spellings: dict[str, str]) -> Any:
    if not isinstance(data, dict):
        return data
    data = dict(data)
    for old, new in spellings.items():
        value = data.pop(old, None)
        if data.get(new) is None:
            data[new] = value
    return data


def _without_none(data: Any, keep: tuple[str, ...]) -> Any:
    if isinstance(data, dict):
        return {key: _without_none(value, keep) for key, value in data.items() if value is not None or key in keep}
    return data
