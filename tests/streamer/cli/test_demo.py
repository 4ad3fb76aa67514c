"""The demo as people run it, but in a very small world."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = ("--users", "40", "--authors", "10", "--tweets", "80")


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    """Run it with temporary files in a folder of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAMER_")}
    return subprocess.Popen(
        [sys.executable, "-m", "streamer.cli", "demo", *SMALL, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, "TMPDIR": str(folder)},
    )


def left_behind(folder: Path) -> list[str]:
    """Temporary files, and processes that were started with one."""
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [*map(str, folder.iterdir()), *(line for line in running.splitlines() if str(folder) in line)]


def test_it_ends_by_itself_with_the_figures(tmp_path: Path) -> None:
    demo = start(tmp_path, "--seconds", "3", "--json")
    stdout, stderr = demo.communicate(timeout=120)
    assert demo.returncode == 0, stderr
    summary = json.loads(stdout)
    assert summary["embeddings_computed"] == summary["tweets"] > summary["streamed_tweets"] > 0
    assert summary["predictions"] >= summary["exposures"] > 0
    assert summary["dead_letters"] == 0
    assert 0 < summary["latency_ms"]["p50"] <= summary["latency_ms"]["p99"]
    assert {"auc", "bayes_auc", "ece"} <= summary.keys()
    assert left_behind(tmp_path) == []


@pytest.mark.fault
def test_interrupted_while_it_streams_it_sums_up_and_leaves_nothing(tmp_path: Path) -> None:
    demo = start(tmp_path, "--seconds", "600", "--json")
    assert demo.stderr is not None
    try:
        for line in demo.stderr:
            if line.startswith("streaming: ") and " 0 tweets" not in line:
                break
        demo.send_signal(signal.SIGINT)
        stdout, _ = demo.communicate(timeout=60)
    finally:
        demo.kill()
    assert demo.returncode == 0
    assert json.loads(stdout)["cut_short"] is True
    assert left_behind(tmp_path) == []
