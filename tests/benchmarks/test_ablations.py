from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks import ablations
from benchmarks.ablations import Outcome, Watch, outcomes, table
from benchmarks.variants import variants
from models.network import Network
from models.progress import Step
from models.recipe import Recipe
from tests.models.test_train import write_log

CHEAP = """
[model.text]
type = "bag"
vocabulary = 120
width = 16
[training]
epochs = 1
threads = 1
"""


def outcome(name: str, rce: float) -> Outcome:
    return Outcome(
        name=name, what="what it is", exposures=1000, positives=50, auc=0.9, average_precision=0.5, rce=rce,
        ece=0.01, auc_interval=(0.88, 0.92), rce_interval=(rce - 1, rce + 1), epochs=2,
        exposures_per_second=1234.5, seconds=3.0,
    )  # fmt: skip


def test_every_variant_is_another_model_that_can_be_built() -> None:
    found = variants(Recipe(), encoder="folder")
    assert found["default"].recipe == Recipe()
    recipes = [msgspec.json.encode(variant.recipe) for variant in found.values()]
    assert len(set(recipes)) == len(recipes)
    for name, variant in found.items():
        if not name.startswith("encoder"):
            Network(variant.recipe.model, 1, 200, {})
    assert not any(name.startswith("encoder") for name in variants(Recipe()))


def test_differences_are_of_the_same_draws(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(60, 5, (500, 5))
    for name, rce, values in (("default", 60.0, draws), ("concat", 58.0, draws - 2.0)):
        (tmp_path / f"{name}.json").write_bytes(msgspec.json.encode(outcome(name, rce)))
        np.save(tmp_path / f"{name}.npy", values)
    first, second = outcomes(tmp_path, ["default", "hadamard", "concat"])
    assert first.rce_difference is None
    assert second.rce_difference == pytest.approx((-2.0, -2.0))
    lines = table([first, second]).splitlines()
    assert lines[2].startswith("| default | what it is | 0.9000 | 0.5000 | 60.00 (59.0 to 61.0) |  |")
    assert "| -2.0 to -2.0 |" in lines[3]
    assert "1,000 validation exposures, 50 retweeted" in lines[-1]


def test_speed_counts_histories_encoded_anew(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch("x")
    for phase, unit, seconds in (("refresh histories", "tweets", 1.0), ("epoch 1", "exposures", 4.0)):
        watch(Step(phase, 50, 100, unit, seconds / 2))
        watch(Step(phase, 100, 100, unit, seconds))
    assert watch.speed == 20.0
    assert "x: refresh histories 50/100 tweets, 0 s left" in capsys.readouterr().err


def test_a_log_is_gone_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log, out = write_log(tmp_path / "log", tweets=120), tmp_path / "out"
    (tmp_path / "recipe.toml").write_text(CHEAP)

    def run(*arguments: str) -> int:
        whole = ["ablations", str(log), "--out", str(out), "--recipe", str(tmp_path / "recipe.toml")]
        monkeypatch.setattr(sys, "argv", [*whole, *arguments])
        return ablations.main()

    assert run("--only", "default", "--max-exposures", "600") == 0
    first = (out / "default.json").read_bytes()
    assert run("--only", "default", "text-only", "--max-exposures", "600") == 0
    assert (out / "default.json").read_bytes() == first  # not done again
    found = msgspec.json.decode((out / "ablations.json").read_bytes(), type=list[Outcome])
    assert [each.name for each in found] == ["default", "text-only"]
    assert found[1].rce_difference is not None
    assert "| text-only |" in (out / "ablations.md").read_text()
    assert run("--only", "default") == 1
    assert "results of another log" in capsys.readouterr().err
    assert run("--only", "bogus") == 2
    assert "no variant bogus; there are default, " in capsys.readouterr().err
