"""Baselines end to end, on the log of `test_train`: people retweet what is like what they retweeted."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from models.baselines.baseline import Baseline
from models.baselines.learners import BaselineError, Kind, Trees
from models.baselines.train import fit_baseline, train_baseline
from models.bundle import Bundle, BundleError
from models.calibration import Curve
from models.dataset import UNKNOWN, Dataset
from models.evaluate import evaluate
from models.log import EventLog, LogError
from models.manifest import seal
from models.recipe import TrainingConfig
from models.replay import replay
from models.train import train
from tests.models.test_train import write_log
from tests.models.tiny import tiny_bundle

ONE_THREAD = TrainingConfig(threads=1)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log"))


@pytest.fixture(scope="module")
def dataset(log: Path, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    events = EventLog(log)
    return replay(events, events.exposures["train"], tmp_path_factory.mktemp("dataset"))


@pytest.fixture(scope="module")
def boosted(dataset: Dataset) -> Baseline:
    return fit_baseline(dataset, "boosted", ONE_THREAD)[0]


@pytest.mark.parametrize("kind", ["logistic", "forest", "boosted"])
def test_the_rule_is_found(log: Path, tmp_path: Path, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trees, "_ROUNDS", {"boosted": 100, "forest": 50})
    result = train_baseline(log, tmp_path / "out", kind, training=ONE_THREAD)
    assert result.epochs > 0
    found = evaluate(tmp_path / "out", log)
    assert found.model == result.fingerprint
    assert found.retweet.auc > 0.8  # a guess has 0.5, the rule itself about 0.87
    assert found.retweet.rce > 20
    assert {path.suffix for path in (tmp_path / "out").iterdir()} <= {".json", ".safetensors", ".txt"}


@pytest.mark.parametrize("kind", ["logistic", "boosted"])
def test_what_is_saved_comes_back(dataset: Dataset, tmp_path: Path, kind: Kind) -> None:
    baseline, _ = fit_baseline(dataset, kind, ONE_THREAD)
    fingerprint = baseline.save(tmp_path)
    loaded = Baseline.load(tmp_path)
    assert loaded.fingerprint == fingerprint
    assert np.array_equal(loaded.probabilities(dataset), baseline.probabilities(dataset))
    again, _ = fit_baseline(dataset, kind, ONE_THREAD)
    assert again.save(tmp_path / "again") == fingerprint


def test_a_worker_refuses_it(boosted: Baseline, tmp_path: Path) -> None:
    boosted.save(tmp_path)
    with pytest.raises(BundleError, match="a baseline, which only `streamer evaluate` can use") as caught:
        Bundle.from_pretrained(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_baseline_and_a_network_do_not_share_a_folder(
    log: Path, boosted: Baseline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boosted.save(tmp_path / "baseline")
    tiny_bundle(tmp_path / "network")

    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    before = contents()
    monkeypatch.setattr("models.train.replayed", None)  # long before any work
    monkeypatch.setattr("models.baselines.train.replay", None)
    with pytest.raises(BundleError, match=r"holds a retweet-streamer-baseline, and no .* choose another"):
        train(log, tmp_path / "baseline")
    with pytest.raises(BundleError, match=r"holds a retweet-streamer-baseline"):
        tiny_bundle(tmp_path / "baseline")
    with pytest.raises(BundleError, match=r"holds a retweet-streamer-bundle, and no .* choose another"):
        train_baseline(log, tmp_path / "network", "boosted", training=ONE_THREAD)
    with pytest.raises(BundleError, match=r"holds a retweet-streamer-bundle"):
        boosted.save(tmp_path / "network")
    assert contents() == before
    boosted.save(tmp_path / "baseline")
    tiny_bundle(tmp_path / "network", seed=1)


@pytest.mark.parametrize("name", ["config.json", "words.json", "arrays.safetensors", "trees.txt"])
def test_a_missing_or_changed_file_is_named(boosted: Baseline, tmp_path: Path, name: str) -> None:
    boosted.save(tmp_path)
    data = bytearray((tmp_path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / name).write_bytes(bytes(data))
    with pytest.raises(BundleError, match=f"{name} was changed"):
        Baseline.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        Baseline.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("config.json", {"version": 99}, "version 99"),
        ("config.json", {"columns": ["x"]}, "other columns"),
        ("config.json", {"kind": "logistic"}, "do not fit"),
        ("config.json", {"surprise": 1}, "surprise"),
        ("words.json", ["one"], "do not fit config"),
        ("trees.txt", None, "do not fit config"),
        ("arrays.safetensors", None, "do not fit config"),
    ],
)
def test_a_foreign_one_is_refused(
    boosted: Baseline, tmp_path: Path, name: str, change: Any, message: str
) -> None:
    boosted.save(tmp_path)
    data = change
    if isinstance(change, dict):
        data = msgspec.json.decode((tmp_path / name).read_bytes()) | change
    (tmp_path / name).write_bytes(b"nothing that can be read" if data is None else msgspec.json.encode(data))
    seal(tmp_path, msgspec.json.decode((tmp_path / "manifest.json").read_bytes()))
    with pytest.raises(BundleError, match=message) as caught:
        Baseline.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_without_lightgbm_one_line_says_what_to_install(
    dataset: Dataset, boosted: Baseline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boosted.save(tmp_path)

    def absent(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(BaselineError, match=r"retweet-streamer\[peers\]"):
        fit_baseline(dataset, "boosted", ONE_THREAD)
    with pytest.raises(BaselineError, match=r"retweet-streamer\[peers\]"):
        Baseline.load(tmp_path)
    fit_baseline(dataset, "logistic", ONE_THREAD)  # which does without


def test_one_class_only_is_an_error(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    exposures = dataset.exposures.copy()
    exposures["labels"][:, 0] = 0
    monkeypatch.setattr(dataset, "exposures", exposures)
    with pytest.raises(LogError, match="nothing can be learned"):
        fit_baseline(dataset, "logistic", ONE_THREAD)
    exposures["labels"][1::2, 0] = UNKNOWN
    exposures["labels"][::2, 0] = 1  # which nobody recorded is no answer
    with pytest.raises(LogError, match="nothing can be learned"):
        fit_baseline(dataset, "logistic", ONE_THREAD)


@pytest.mark.parametrize("kind", ["logistic", "forest", "boosted"])
@pytest.mark.parametrize("case", ["few", "none held out", "nobody recorded it"])
def test_without_a_held_out_part_there_are_no_figures(
    dataset: Dataset, tmp_path: Path, kind: Kind, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trees, "_ROUNDS", {"boosted": 5, "forest": 5})
    training = ONE_THREAD
    if case == "few":
        acts = dataset.exposures["labels"][:, 0]
        rows = np.sort(np.concatenate([np.flatnonzero(acts == 1)[:4], np.flatnonzero(acts == 0)[:5]]))
        monkeypatch.setattr(dataset, "readers", dataset.readers[rows])
        monkeypatch.setattr(dataset, "exposures", dataset.exposures[rows])
    elif case == "none held out":
        training = TrainingConfig(threads=1, held_out=0.0)
    else:
        exposures = dataset.exposures.copy()
        exposures["labels"][-len(exposures) // 10 :, 0] = UNKNOWN
        monkeypatch.setattr(dataset, "exposures", exposures)
    baseline, held_out = fit_baseline(dataset, kind, training)
    assert held_out == {}
    assert baseline.curve == Curve()
    baseline.save(tmp_path)
    assert np.isfinite(Baseline.load(tmp_path).probabilities(dataset)).all()


@pytest.mark.parametrize("kind", ["logistic", "boosted"])
def test_a_one_sided_held_out_part_has_the_figures_that_it_can(
    dataset: Dataset, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trees, "_ROUNDS", {"boosted": 5})
    exposures = dataset.exposures.copy()
    exposures["labels"][-len(exposures) // 10 :, 0] = 0
    monkeypatch.setattr(dataset, "exposures", exposures)
    found = fit_baseline(dataset, kind, ONE_THREAD)[1]["retweet"]
    assert found.positives == 0
    assert found.plain()["auc"] is None
    assert found.ece < 0.5
