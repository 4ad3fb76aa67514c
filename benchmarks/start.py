"""From exec of a warm worker to ready, and to its first prediction.

Warm: its files are in the page cache, and Python's bytecode of what it imports is on disk, as it is after any
first start. (Compiling 1,700 modules anew, as PYTHONDONTWRITEBYTECODE has it at every start, takes 4 s.)
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from unittest.mock import patch

from benchmarks.model import TEXT
from benchmarks.options import Options
from benchmarks.result import Result
from benchmarks.rig import Rig, Stream
from benchmarks.systems import Ours
from benchmarks.workload import Workload
from models.recipe import Bag, Transformer

_TARGET_S: Final = 5.0


def run(options: Options) -> list[Result]:
    """See the module."""
    texts: dict[str, Transformer | Bag] = {"default recipe": Bag(), "small BERT": TEXT}
    return [result for name, text in texts.items() for result in _start(options, name, text)]


def _start(options: Options, model: str, text: Transformer | Bag) -> list[Result]:
    ready, first = [], []
    with Rig(Workload.fanout(users=2_000, authors=100), text) as rig, _bytecode(rig.folder / "bytecode"):
        rig.fill()
        for number in range(-1, options.rounds):
            numbers = range(number, number + 1)
            with rig.settings() as settings:
                started = time.perf_counter()
                with Ours(settings) as worker, Stream(rig, settings, worker) as stream:
                    seconds = time.perf_counter() - started
                    answered = stream.drain(list(rig.workload.tweets(numbers)), rig.workload.readers(numbers))
            if number < 0:  # this one warmed what the module says
                continue
            options.say(f"  ready after {seconds:.2f} s, first tweet answered in {answered.seconds:.3f} s")
            ready.append(seconds)
            first.append(answered.seconds * 1000)
    return [
        Result(
            name=f"start of a warm worker, {model}: exec to ready",
            value=statistics.median(ready),
            unit="s",
            target=_TARGET_S,
            higher_is_better=False,
        ),
        Result(
            name=f"first tweet after ready, {model}: all its predictions",
            value=statistics.median(first),
            unit="ms",
            higher_is_better=False,
        ),
    ]


@contextmanager
def _bytecode(folder: Path) -> Iterator[None]:
    """Have Python keep bytecode in a folder, whatever this machine's environment says."""
    with patch.dict(os.environ, PYTHONPYCACHEPREFIX=str(folder)):
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        yield
