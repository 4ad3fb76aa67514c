"""What a worker imports: each of the others costs tenths of a second of its start, or seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest

UNNEEDED = {"accelerate", "kafka", "lightgbm", "matplotlib", "pandas", "pyarrow", "sklearn", "tensorboard"}
STAGES = "import streamer.app, streamer.stages.embed, streamer.stages.score, streamer.stages.users, sys\n"
BUILD = (
    "from models.network import Network\n"
    "from models.recipe import Bag, ModelConfig, Transformer\n"
    "Network(ModelConfig(text={text}), 4, 100, {{}})\n"
)


@pytest.mark.parametrize("text", ["Bag()", "Transformer(layers=1, width=32)"])
def test_a_worker_imports_what_it_serves_with(text: str) -> None:
    script = STAGES + BUILD.format(text=text) + "print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    imported = set(done.stdout.split())
    assert {"torch", "faust", "numba"} <= imported
    assert imported & (UNNEEDED | {"transformers"}) == set()
