"""Two processes, or a batch in parts, are the same training as one process at one go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.cores import cores
from models.processes import Processes
from models.train import train
from tests.models.test_resume import curve
from tests.models.test_train import write_log
from tests.models.trainee import BAG, recipe

#: Sums are taken in another order, and AdamW's first steps magnify that.
CLOSE = 5e-3


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log"), tweets=120, like=True)


@pytest.fixture(scope="module")
def alone(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    train(log, folder, recipe(BAG, dropout=0.0))
    return folder


def losses(folder: Path) -> list[float]:
    return [value for name in ("train/loss", "held_out/loss") for _, value in curve(folder / "logs", name)]


def test_a_batch_in_parts_is_the_batch(log: Path, alone: Path, tmp_path: Path) -> None:
    train(log, tmp_path, recipe(BAG, dropout=0.0, accumulate=4))
    assert losses(tmp_path) == pytest.approx(losses(alone), rel=CLOSE)


def test_parts_are_no_more_than_the_exposures_of_a_batch(log: Path, tmp_path: Path) -> None:
    small = {"batch": 16, "epochs": 1, "refit": 0, "dropout": 0.0}
    for parts in (1, 1000):
        train(log, tmp_path / str(parts), recipe(BAG, accumulate=parts, **small))
    assert losses(tmp_path / "1000") == pytest.approx(losses(tmp_path / "1"), rel=CLOSE)


def test_two_processes_learn_what_one_does_and_one_of_them_reports(
    log: Path, alone: Path, tmp_path: Path
) -> None:
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    launch += ["--log-dir", str(tmp_path / "launch"), "-m", "tests.models.trainee"]
    ran = subprocess.run(
        [sys.executable, "-m", *launch, str(log), str(tmp_path), "bag"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-4000:]
    (result,) = [json.loads(line) for line in ran.stdout.splitlines()]
    assert result["fingerprint"]
    assert losses(tmp_path) == pytest.approx(losses(alone), rel=CLOSE)
    assert not list(tmp_path.glob(".training*"))


def test_bfloat16_learns_about_the_same(log: Path, alone: Path, tmp_path: Path) -> None:
    train(log, tmp_path, recipe(BAG, dropout=0.0, precision="bfloat16"))
    assert losses(tmp_path) != losses(alone)
    assert losses(tmp_path) == pytest.approx(losses(alone), rel=0.05)


def test_an_encoder_learns_in_bfloat16(log: Path, tmp_path: Path) -> None:
    train(log, tmp_path, recipe(dropout=0.0, precision="bfloat16", epochs=1))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no system call for it")
def test_threads_are_as_many_as_the_cores_to_run_on() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert cores() == 1
        assert Processes("cpu").threads(0) == 1
        assert Processes("cpu").threads(3) == 3
    finally:
        os.sched_setaffinity(0, allowed)
    assert cores() == len(allowed)
