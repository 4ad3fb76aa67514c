from __future__ import annotations

from pathlib import Path

import pytest

from streamer.errors import StreamerError
from streamer.stages.backend import load_model
from tests.models.tiny import tiny_bundle


def test_a_device_that_is_not_there_is_for_people(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    with pytest.raises(StreamerError, match="no device is called 'foo'; choose"):
        load_model(tmp_path, "foo")
