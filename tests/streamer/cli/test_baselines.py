"""`streamer train --model` and `streamer evaluate --compare`, and what they say of bad input."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from models.bundle import BundleConfig
from models.recipe import Anybody, Transformer
from streamer.cli.model import recipe_of
from tests.models.test_train import write_log
from tests.models.tiny import tiny_bundle
from tests.streamer.cli.conftest import Command


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log"), tweets=100)


def test_a_baseline_beside_a_bundle(streamer: Command, log: Path, tmp_path: Path) -> None:
    bundle, baseline, recipe = tmp_path / "bundle", tmp_path / "baseline", tmp_path / "recipe.toml"
    tiny_bundle(bundle)
    recipe.write_text("training.threads = 1")
    trained = streamer(
        "train", log, "--out", baseline, "--model", "logistic", "--recipe", recipe, "--json"
    ).object
    assert trained["heads"] == ["retweet"]
    found = streamer("evaluate", bundle, log, "--compare", baseline, "--json").object
    assert {"exposures", "positives", "auc", "average_precision", "rce", "nrce", "ece"} <= found.keys()
    assert found["baseline"] is False
    assert [other["model"] for other in found["compared"]] == [trained["fingerprint"]]
    told = streamer("evaluate", baseline, log, "--compare", bundle)
    assert told.code == 0
    assert "RCE above that of bundle" in told.stdout
    assert "streamer worker" not in told.stdout


def test_choices_of_a_network_are_refused_for_what_is_none(
    streamer: Command, log: Path, tmp_path: Path
) -> None:
    ran = streamer(
        "train", log, "--out", tmp_path / "b", "--model", "logistic", "--logs", tmp_path, "--resume"
    )
    assert ran.code == 2
    assert "--resume, --logs: of a network" in ran.stderr


def test_no_log_and_no_bundle_are_one_line(streamer: Command, log: Path, tmp_path: Path) -> None:
    for args in (
        ("train", tmp_path / "nothing", "--out", tmp_path / "out", "--model", "logistic"),
        ("evaluate", tmp_path / "nothing", log),
    ):
        ran = streamer(*args)
        assert (ran.code, ran.stdout) == (1, "")
        assert ran.stderr.startswith("error: ")
        assert ran.stderr.count("\n") == 1


def test_options_go_before_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text("training.epochs = 9\ntraining.seed = 4")
    chosen = recipe_of(file, None, epochs=2, batch=None, seed=None).training
    assert (chosen.epochs, chosen.seed) == (2, 4)


def test_a_tweet_only_baseline_sees_nothing_but_the_text(
    streamer: Command, log: Path, tmp_path: Path
) -> None:
    network, tweets = tmp_path / "network", tmp_path / "tweets"
    tiny_bundle(network)
    trained = streamer(
        "train", log, "--out", tweets, "--model", "tweet-only", "--epochs", "1", "--json"
    ).object
    model = msgspec.json.decode((tweets / "config.json").read_bytes(), type=BundleConfig).model
    assert (model.text, model.user) == (Transformer(), Anybody())
    assert (model.tweet.author_width, model.tweet.metadata) == (0, False)
    found = streamer("evaluate", network, log, "--compare", tweets, "--json").object
    assert [other["model"] for other in found["compared"]] == [trained["fingerprint"]]
