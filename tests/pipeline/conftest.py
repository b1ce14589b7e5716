"""What the tests of the trainings share: a small target, what it is trained on, and a finished warm start."""

from pathlib import Path

import pytest
import train_jobs as jobs

from legible.data.store import Store
from legible.models.target import Target


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A target, a store of world stories, a teacher's file and a finished warm start; read only."""
    path = tmp_path_factory.mktemp("trained")
    jobs.prepare(path)
    jobs.sft(path, path / "sft")
    return path


@pytest.fixture(scope="session")
def store(folder: Path) -> Store:
    return Store.open(folder / "store")


@pytest.fixture
def target(folder: Path) -> Target:
    return Target.load(str(folder / "target"))
