"""Repositories of the hub as folders of this machine: the size is said first, and only what is read is taken.

The client of the hub does the work: whole files are kept, so that a stopped download resumes with the next one, and a
connection that breaks resumes within the file.
"""

import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import HfApi, constants, hf_hub_download, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    IncompleteSnapshotError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]

from legible.display import size
from legible.errors import UsageError
from legible.models.place import one_line

TAKEN = ["*.json", "*.yaml", "*.jinja", "*.txt", "*.model", "README.md"]
"""What a model or a checkpoint is read from beside its weights: configurations, sidecars, tokenizers."""
WEIGHTS = "*.safetensors"
LEFT = [
    "*optimizer*", "*scheduler*", "training_args*", "trainer_state*", "*consolidated*", "original/*", "onnx/*",
    "*/optimizer/*", "checkpoint-*/*", "global_step*/*", "iter_*/*",
]  # fmt: skip
"""What is not, although it is called so: states of trainings, second copies in other formats, older steps."""
_WAIT = 10.0  # seconds


class NotFoundError(UsageError):
    """A name that is neither a folder here nor a repository that this machine can see; `reason` says which."""

    def __init__(self, name: str, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"no directory at {name}: there is no such folder, and {reason}.\n"
            "  Expected a model directory or a hub name such as OWNER/MODEL. The usual cause is a mistyped path.\n"
            "  Targets with a registered name: legible target list"
        )


def folder_of(name: str, revision: str | None = None, *, weights: bool = True, code: bool = False) -> Path:
    """The folder of a model or checkpoint: itself, or that of the hub's repository, downloaded where needed.

    Args:
        name: a folder or a hub name.
        revision: branch, tag or commit on the hub.
        weights: take them; without them a tokenizer and the configurations can be read.
        code: take its Python files too, for a model whose remote code is trusted.

    Raises:
        NotFoundError: neither.
        UsageError: gated, half in the cache while the hub is out of reach, no room on the disk, a broken download.
    """
    if Path(name).is_dir():
        return Path(name)
    if not is_hub_name(name):
        raise NotFoundError(name, "that is no hub name")
    taken = [*TAKEN, *([WEIGHTS] if weights else []), *(["*.py"] if code else [])]
    try:
        complete = _say_size(name, revision, taken)
        asked = {"revision": complete, "local_files_only": True} if complete else {"revision": revision}
        return Path(snapshot_download(name, allow_patterns=taken, ignore_patterns=LEFT, **asked))
    except UsageError:
        raise
    except Exception as error:  # the client raises those of its HTTP library too
        raise _refusal(name, error) from error


def file_of(repository: str, file: str, revision: str | None = None) -> Path:
    """One file of a hub's repository, downloaded where needed.

    Raises:
        NotFoundError, UsageError: as for `folder_of`.
    """
    try:
        _say_size(repository, revision, [file])
        return Path(hf_hub_download(repository, file, revision=revision))
    except UsageError:
        raise
    except EntryNotFoundError as error:
        if isinstance(error, LocalEntryNotFoundError):  # one by inheritance: the hub is out of reach
            raise _refusal(repository, error) from error
        raise NotFoundError(f"{repository}/{file}", f"the repository has no file {file}") from error
    except Exception as error:  # the client raises those of its HTTP library too
        raise _refusal(repository, error) from error


def config_folder(name: str, revision: str | None = None) -> Path | None:
    """The folder that holds the config.json of a hub's model, fetched where needed; None where there is none."""
    if not is_hub_name(name):
        return None
    try:
        return Path(hf_hub_download(name, "config.json", revision=revision)).parent
    except Exception:  # noqa: BLE001  the client raises those of its HTTP library too; the download says what is wrong
        return None


def kept_folder(name: str, revision: str | None = None) -> Path | None:
    """What the cache holds of a repository; None where it holds nothing."""
    try:
        return Path(snapshot_download(name, revision=revision, local_files_only=True))
    except Exception:  # noqa: BLE001  the client raises those of its HTTP library too
        return None


def is_kept(name: str, revision: str | None = None) -> bool:
    """Whether a model in transformers' layout was loaded from the hub before."""
    try:
        cached = try_to_load_from_cache(name, "config.json", revision=revision)
    except ValueError:  # no name that a model of the hub can have
        return False
    return isinstance(cached, str)


def is_hub_name(name: str) -> bool:
    """Whether a name could be one of the hub's: MODEL or OWNER/MODEL."""
    return not (Path(name).is_absolute() or name.startswith(".") or name.count("/") > 1)


def files_there(name: str, revision: str | None = None) -> list[str] | None:
    """The files of a repository, asked before anything is downloaded; None where the hub is out of reach.

    Raises:
        NotFoundError: the hub has none of that name, or does not show it to this user.
    """
    try:
        return [file.rfilename for file in HfApi().model_info(name, revision=revision, timeout=_WAIT).siblings or ()]
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise _refusal(name, error) from error
    except Exception:  # noqa: BLE001  then the cache may hold it, and the download says so if not
        return None


def _say_size(name: str, revision: str | None, taken: list[str]) -> str | None:
    """Say on stderr what will be downloaded; nothing where all of it is here or the hub is out of reach.

    Returns:
        The commit, where all of it is here.

    Raises:
        UsageError: more than the disk has room for.
    """
    try:
        info = HfApi().model_info(name, revision=revision, files_metadata=True, timeout=_WAIT)
    except Exception:  # noqa: BLE001  the download tells what is wrong, where the cache does not hold it all
        return None
    named = {each.rfilename: each for each in info.siblings or ()}
    wanted = [named[file] for file in filter_repo_objects(named, allow_patterns=taken, ignore_patterns=LEFT)]
    lacking = [each for each in wanted if not isinstance(_cached(name, each, info.sha), str)]
    if not lacking:
        return info.sha
    needed, whole = _bytes(lacking), _bytes(wanted)
    rest = f" ({size(whole - needed)} of {size(whole)} is here)" if needed < whole else ""
    print(f"downloading {name}: {size(needed)} in {len(lacking)} files{rest}", file=sys.stderr, flush=True)
    cache = Path(constants.HF_HUB_CACHE)
    free = shutil.disk_usage(next(folder for folder in (cache, *cache.parents) if folder.exists())).free
    if needed > free:
        raise UsageError(
            f"{name} needs {size(needed)} more, and the disk of {cache} has {size(free)} free.\n"
            "  Make room, or keep the cache on another disk: HF_HOME=DIR"
        )
    return None


def _cached(name: str, file: RepoSibling, commit: str | None) -> object:
    return try_to_load_from_cache(name, file.rfilename, revision=commit)


def _bytes(files: Iterable[RepoSibling]) -> int:
    return sum(file.size or 0 for file in files)


def _refusal(name: str, error: Exception) -> UsageError:
    """What the hub's client says, in our words."""
    page, cache = f"{constants.ENDPOINT}/{name}", constants.HF_HUB_CACHE
    offline = isinstance(error, OfflineModeIsEnabled) or constants.is_offline_mode()
    if isinstance(error, GatedRepoError):
        return UsageError(
            f"{name} is gated: its owner gives the files to those who accept the licence.\n"
            f"  Accept it at {page}, then log in here: hf auth login"
        )
    if isinstance(error, IncompleteSnapshotError):
        why = "HF_HUB_OFFLINE is set" if offline else "the hub is out of reach"
        return UsageError(
            f"only a part of {name} is in the cache {cache}, and {why}.\n"
            "  The usual cause is a download that was stopped. Run the same command with a connection: it resumes."
        )
    if isinstance(error, RevisionNotFoundError):
        return UsageError(f"{name} has no such revision: {one_line(error)}.\n  See {page}/tree/main")
    if isinstance(error, RepositoryNotFoundError):
        return NotFoundError(name, "the hub has no such repository, or it is private: hf auth login")
    if isinstance(error, HFValidationError):
        return NotFoundError(name, "that is no hub name")
    if isinstance(error, LocalEntryNotFoundError) and offline:
        return NotFoundError(name, f"HF_HUB_OFFLINE is set and the cache {cache} holds no such repository")
    if isinstance(error, LocalEntryNotFoundError):
        return NotFoundError(name, f"the hub is out of reach and the cache {cache} does not hold it")
    return UsageError(
        f"the download of {name} stopped: {one_line(error)}\n"
        "  Complete files are kept: run the same command again, and it resumes with the next one."
    )
