"""A training that is cut off, however that happens, and gone on with is the training that was not."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from models import loop
from models.checkpoint import CheckpointError
from models.progress import Step
from models.train import train
from models.unfinished import CHECKPOINT, Mark, unfinished
from tests.models.test_train import write_log
from tests.models.trainee import BAG, recipe

#: 1,036 to learn from, in 9 steps; 116 held out.
TWEETS = 120


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log"), tweets=TWEETS)


@pytest.fixture(autouse=True)
def _a_checkpoint_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_LOOK", 1)


def curve(folder: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def interrupt(phase: str, done: int) -> Callable[[Step], None]:
    def show(step: Step) -> None:
        if step.phase == phase and step.done >= done:
            raise KeyboardInterrupt

    return show


def trainee(log: Path, out: Path, *how: str) -> subprocess.CompletedProcess[str]:
    """A training in a process of its own, as those that are gone on with are: a float's last digit may depend
    on what else a process has done before.
    """
    command = [sys.executable, "-m", "tests.models.trainee", str(log), str(out), "bert", *how]
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)


def test_killed_and_gone_on_with_it_has_the_same_curves_and_the_same_bundle(
    log: Path, tmp_path: Path
) -> None:
    whole = json.loads(trainee(log, tmp_path / "whole").stdout)
    out = tmp_path / "cut"
    assert trainee(log, out, "epoch 2", "600").returncode == -signal.SIGKILL
    rest = json.loads(trainee(log, out, "resume").stdout)
    assert "replay" not in rest["begun"]
    assert "epoch 1" not in rest["begun"]
    done, before = rest["begun"]["epoch 2"]
    assert done == before > 0
    assert rest["fingerprint"] == whole["fingerprint"]
    assert rest["held_out"] == whole["held_out"]
    for name in ("train/loss", "train/learning_rate", "held_out/loss", "held_out/retweet/rce"):
        assert curve(out / "logs", name) == curve(tmp_path / "whole" / "logs", name)
    assert [at for at, _ in curve(out / "logs", "train/loss")] == list(range(1, 31))
    assert not (out / ".training").exists()


def test_wherever_it_is_interrupted_nothing_changes(log: Path, tmp_path: Path) -> None:
    whole = train(log, tmp_path / "whole", recipe(BAG))
    cuts = (
        ("replay", 1_000),
        ("tokenise", 1),
        ("epoch 1", 500),
        ("epoch 3", 1_036),
        ("refit 2", 1),
    )
    for phase, done in cuts:
        out = tmp_path / phase
        with pytest.raises(KeyboardInterrupt):
            train(log, out, recipe(BAG), interrupt(phase, done))
        assert train(log, out, recipe(BAG), resume=True).fingerprint == whole.fingerprint
        assert curve(out / "logs", "train/loss") == curve(tmp_path / "whole" / "logs", "train/loss")


def test_a_training_that_was_cut_off_is_not_lost_by_mistake(log: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    with pytest.raises(KeyboardInterrupt):
        train(log, out, recipe(BAG), interrupt("epoch 1", 500))
    with pytest.raises(CheckpointError, match="add --resume"):
        train(log, out, recipe(BAG))
    with pytest.raises(CheckpointError, match="another recipe"):
        train(log, out, recipe(BAG, seed=1), resume=True)
    with pytest.raises(CheckpointError, match="another event log"):
        train(write_log(tmp_path / "other", tweets=60), out, recipe(BAG), resume=True)
    saved = out / ".training" / CHECKPOINT
    saved.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="is damaged"):
        train(log, out, recipe(BAG), resume=True)
    save_file({}, saved)
    with pytest.raises(CheckpointError, match="not a checkpoint of this release"):
        train(log, out, recipe(BAG), resume=True)


def test_what_fails_before_a_checkpoint_leaves_nothing(tmp_path: Path) -> None:
    mark = Mark(recipe="r", log="l", release="", processes=1)
    with pytest.raises(ValueError, match="no"), unfinished(tmp_path, mark, resume=False) as folder:
        raise ValueError("no")
    assert not folder.exists()


def test_one_training_at_a_time(tmp_path: Path) -> None:
    mark = Mark(recipe="r", log="l", release="", processes=1)
    with (
        unfinished(tmp_path, mark, resume=False),
        pytest.raises(CheckpointError, match="another process trains"),
        unfinished(tmp_path, mark, resume=True),
    ):
        pass
