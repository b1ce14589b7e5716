"""From a model's name to what transformers can load: named targets and GGUF files become plain model directories.

Wherever a model is named (a target, a local teacher, a tokenizer), the name is a directory or hub name in transformers'
layout, or one of these: a target with a name here (`legible.models.named`), a GGUF file, a folder with one, a hub
repository with one, or OWNER/NAME/FILE.gguf for a file of the hub.
"""

from pathlib import Path

from legible.errors import UsageError
from legible.models.gguf import converted, only_gguf, several
from legible.models.hub import file_of, files_there, is_hub_name, is_kept, kept_folder
from legible.models.named import find_named, named_file


def local(name: str, revision: str | None = None) -> Path | None:
    """The directory that a named target or a GGUF file was converted into; None for any other name.

    Raises:
        UsageError: a named target that is not here, several GGUF files, or one that cannot be read.
        UnsupportedModelError: a GGUF file of a model that is not known here.
    """
    path = Path(name)
    if path.is_dir():
        file = only_gguf(path)
    elif path.suffix == ".gguf":
        file = path if path.is_file() else _of_hub(name, revision)
    elif (target := find_named(name)) is not None:
        return converted(named_file(target), target.sha256)
    else:
        file = _only_of_hub(name, revision)
    return None if file is None else converted(file)


def gguf_here(name: str) -> Path | None:
    """The GGUF file of a name, where it is on this machine outside the hub's cache; unproved and unconverted.

    Raises:
        UsageError: several GGUF files.
    """
    path = Path(name)
    if path.is_dir():
        return only_gguf(path)
    target = find_named(name)
    file = path if target is None else target.path
    return file if file.suffix == ".gguf" and file.is_file() else None


def _of_hub(name: str, revision: str | None) -> Path:
    """The file that OWNER/NAME/FILE.gguf names, downloaded or kept."""
    owner, _, rest = name.partition("/")
    repository, _, file = rest.partition("/")
    if not file or not is_hub_name(f"{owner}/{repository}"):
        raise UsageError(
            f"no file at {name}.\n"
            "  Expected the path of a GGUF file, or OWNER/NAME/FILE.gguf for one of the hub.\n"
            "  The usual cause is a mistyped path."
        )
    return file_of(f"{owner}/{repository}", file, revision)


def _only_of_hub(name: str, revision: str | None) -> Path | None:
    """The GGUF file of a hub repository that holds no model in transformers' layout; None for any other name."""
    if not is_hub_name(name) or is_kept(name, revision):
        return None
    files = files_there(name, revision)
    if files is None:
        kept = kept_folder(name, revision)
        return None if kept is None else only_gguf(kept)
    models = sorted(file for file in files if file.endswith(".gguf"))
    if not models or any(file.endswith(".safetensors") for file in files):
        return None
    if len(models) > 1:
        raise several(name, [f"{name}/{file}" for file in models])
    return file_of(name, models[0], revision)
