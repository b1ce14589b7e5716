"""Sidecars on disk: where they stand, reading and writing them."""

import subprocess
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from legible.contract.schema import DatasetContract, ModelContract
from legible.errors import ContractError
from legible.fileio import write_text

SIDECAR = "nla_meta.yaml"


def sidecar_path(path: Path | str) -> Path:
    """The sidecar of a checkpoint folder, a Parquet file, or a sidecar itself."""
    path = Path(path)
    if path.name.endswith(SIDECAR):
        return path
    return path.with_name(f"{path.name}.{SIDECAR}") if path.suffix == ".parquet" else path / SIDECAR


def read_contract(path: Path | str) -> ModelContract | DatasetContract:
    """Read the sidecar of one role's folder, of a Parquet file, or a sidecar itself.

    Raises:
        ContractError: none there, not YAML, or a field that is missing or impossible (named).
    """
    file = sidecar_path(path)
    if not file.is_file():
        raise ContractError(
            f"no contract at {file}: expected {SIDECAR} in an av/ or ar/ folder, or beside a Parquet file.\n"
            "  Check the path; a checkpoint copied without its sidecar cannot be used."
        )
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ContractError(f"{file} is not YAML: {error}") from None
    kind = data.get("kind") if isinstance(data, dict) else None
    models: dict[Any, type[ModelContract] | type[DatasetContract]]
    models = {"nla_model": ModelContract, "nla_dataset": DatasetContract}
    if kind not in models:
        raise ContractError(f"{file} has kind {kind!r}, expected nla_model or nla_dataset.")
    try:
        return models[kind].model_validate(data)
    except ValidationError as error:
        raise ContractError(f"{file} breaks the contract:\n{_explain(error)}") from None


def write_contract(path: Path | str, contract: ModelContract | DatasetContract) -> Path:
    """Write the sidecar (see `sidecar_path`) atomically; returns its path."""
    file = sidecar_path(path)
    write_text(file, yaml.safe_dump(contract.as_written(), sort_keys=False, allow_unicode=True))
    return file


def git_commit() -> str:
    """The commit of the source tree that runs, or "unknown" outside of one (an installed package)."""
    here = Path(__file__).resolve().parent
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # no git on this machine
        return "unknown"
    return found.stdout.strip() if found.returncode == 0 else "unknown"


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"]) or "the file"
        if where == "extraction.injection_scale" and item["type"] == "missing":
            lines.append(
                "  extraction.injection_scale is absent and has no default: a number, sqrt_d_model, or null (raw).\n"
                "  Ask whoever trained it; a wrong scale gives fluent nonsense."
            )
        else:
            lines.append(f"  {where}: {item['msg']} (found {item.get('input')!r:.80})")
    return "\n".join(dict.fromkeys(lines))
