"""A tiny model and rigs of stages around it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from models.serving import ServingModel
from streamer.settings import Settings
from tests.models.tiny import tiny_bundle
from tests.streamer.stages.rig import MemoryBackend, Rig


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny bundle with random weights, which knows three pieces of text by their ids."""
    path = tmp_path_factory.mktemp("bundle")
    tiny_bundle(path, source=["[PAD]", "fox", "##es", "senate"])
    return path


@pytest.fixture(scope="session")
def model(bundle: Path) -> ServingModel:
    """The tiny bundle, loaded."""
    return ServingModel.load(bundle, "cpu")


@pytest.fixture
def backend(model: ServingModel) -> MemoryBackend:
    """Empty stores in memory."""
    return MemoryBackend(model)


@pytest.fixture
def rig(backend: MemoryBackend) -> Iterator[Rig]:
    """All stages over memory, with default settings."""
    rig = Rig(Settings(), backend)
    rig.open()
    yield rig
    rig.close()
