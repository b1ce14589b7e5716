"""From a model's name to what transformers can load: named targets and GGUF files become plain model directories.

Wherever a model is named (a target, a local teacher, a tokenizer), the name is a directory or hub name in transformers'
layout, or one of these: a target with a name here (`legible.models.named`), a GGUF file, a folder with one, a hub
repository with one, or OWNER/NAME/FILE.gguf for a file of the hub.
"""

from pathlib import Path

from huggingface_hub import HfApi, hf_hub_download, snapshot_download

from legible.errors import UsageError
from legible.models.gguf import converted, only_gguf, several
from legible.models.named import find_named, named_file
from legible.models.place import HUB_WAIT, hub_name, is_kept, one_line, unknown


def local(name: str, revision: str | None = None) -> str:
    """The directory that a named target or a GGUF file was converted into; any other name as it is.

    Raises:
        UsageError: a named target that is not here, several GGUF files, or one that cannot be read.
        UnsupportedModelError: a GGUF file of a model that is not known here.
    """
    path = Path(name)
    found: Path | None
    if path.is_dir():
        found = only_gguf(path)
    elif path.suffix == ".gguf":
        found = path if path.is_file() else _of_hub(name, revision)
    elif (target := find_named(name)) is not None:
        return str(converted(named_file(target), target.sha256))
    else:
        found = _only_of_hub(name, revision)
    return name if found is None else str(converted(found))


def _of_hub(name: str, revision: str | None) -> Path:
    """The file that OWNER/NAME/FILE.gguf names, downloaded or kept."""
    owner, _, rest = name.partition("/")
    repository, _, file = rest.partition("/")
    if not file or not hub_name(f"{owner}/{repository}"):
        raise UsageError(
            f"no file at {name}.\n"
            "  Expected the path of a GGUF file, or OWNER/NAME/FILE.gguf for one of the hub.\n"
            "  The usual cause is a mistyped path."
        )
    try:
        return Path(hf_hub_download(f"{owner}/{repository}", file, revision=revision))
    except Exception as error:  # the hub's client raises those of its HTTP library too
        raise unknown(name, f"the hub gives no such file: {one_line(error)}") from error


def _only_of_hub(name: str, revision: str | None) -> Path | None:
    """The GGUF file of a hub repository that holds no model in transformers' layout; None for any other name."""
    if not hub_name(name) or is_kept(name, revision):
        return None
    try:
        files = [
            file.rfilename for file in HfApi().model_info(name, revision=revision, timeout=HUB_WAIT).siblings or ()
        ]
    except Exception as error:  # the hub's client raises those of its HTTP library too
        if (kept := _only_kept(name, revision)) is not None:
            return kept
        raise unknown(name, f"the hub gives no such model: {one_line(error)}") from error
    models = sorted(file for file in files if file.endswith(".gguf"))
    if not models or any(file.endswith(".safetensors") for file in files):
        return None
    if len(models) > 1:
        raise several(name, [f"{name}/{file}" for file in models])
    return Path(hf_hub_download(name, models[0], revision=revision))


def _only_kept(name: str, revision: str | None) -> Path | None:
    """The one GGUF file that was downloaded from a repository before."""
    try:
        return only_gguf(Path(snapshot_download(name, revision=revision, local_files_only=True)))
    except Exception:  # noqa: BLE001  nothing is kept: the first error says why it cannot be had
        return None
