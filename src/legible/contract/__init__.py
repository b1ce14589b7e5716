"""What a dataset or checkpoint promises: read it, write it, check it against live things.

The files are those of the released NLA checkpoints and tools (`nla_meta.yaml`, `NAME.parquet.nla_meta.yaml`); what is
ours alone stands under their one extra key `legible:`. Every spelling in use is read; the newest is written with the
older ones beside it. Nothing here loads a model.
"""

from legible.contract.check import check_contract, check_tokens, ensure_contract
from legible.contract.files import SIDECAR, git_commit, read_contract, sidecar_path, write_contract
from legible.contract.problem import Problem
from legible.contract.schema import (
    ApiSummaries,
    BlocksRecord,
    CalibratorRecord,
    DatasetContract,
    Extraction,
    InjectionRecord,
    LegibleExtra,
    ModelContract,
    PromptIds,
    PromptRecord,
    Scale,
    Scales,
    TargetRecord,
    Templates,
    Tokens,
    VarianceRecord,
    resolve_scale,
)

__all__ = [
    "SIDECAR",
    "ApiSummaries",
    "BlocksRecord",
    "CalibratorRecord",
    "DatasetContract",
    "Extraction",
    "InjectionRecord",
    "LegibleExtra",
    "ModelContract",
    "Problem",
    "PromptIds",
    "PromptRecord",
    "Scale",
    "Scales",
    "TargetRecord",
    "Templates",
    "Tokens",
    "VarianceRecord",
    "check_contract",
    "check_tokens",
    "ensure_contract",
    "git_commit",
    "read_contract",
    "resolve_scale",
    "sidecar_path",
    "write_contract",
]
