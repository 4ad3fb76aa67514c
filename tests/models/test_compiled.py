from __future__ import annotations

import importlib.util
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SOURCE = """
from models.compiled import compiled

@compiled
def twice(x):
    return 2 * x
"""

ADD = """
@compiled
def add(left, right):
    for i in range(len(left)):
        left[i] += right[i]
"""


def load(source: Path) -> Any:
    spec = importlib.util.spec_from_file_location("loops", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A module whose loop has been compiled before."""
    source = tmp_path / "loops.py"
    source.write_text(SOURCE)
    assert load(source).twice(3) == 6
    return source


def hits(module: Any) -> int:
    """How many signatures were loaded from disk."""
    return sum(module.twice.stats.cache_hits.values())


def test_llvm_knows_that_arguments_share_no_memory(tmp_path: Path) -> None:
    source = tmp_path / "loops.py"
    source.write_text(SOURCE + ADD)
    add = load(source).add
    left, right = np.arange(3.0), np.ones(3)
    add(left, right)
    assert left.tolist() == [1, 2, 3]
    (signature,) = add.signatures
    for data in ("%arg.left.4", "%arg.right.4"):
        assert re.search(rf"noalias [^,]*{data},", add.inspect_llvm(signature))


def test_a_later_process_loads_what_was_compiled(source: Path) -> None:
    again = load(source)
    assert again.twice(3) == 6
    assert hits(again) == 1


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("left", [b"", b"\x80\x05half", b"garbage" * 100])
def test_damaged_files_are_made_anew(
    source: Path, kind: str, left: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    (damaged,) = (source.parent / "__pycache__").glob(f"*.{kind}")
    damaged.write_bytes(left)
    with caplog.at_level(logging.WARNING):
        assert load(source).twice(3) == 6
    assert "compiling anew" in caplog.text
    mended = load(source)
    assert mended.twice(3) == 6
    assert hits(mended) == 1
