"""A network that begins is the linear model of what it is given, whatever its recipe leaves out."""

from __future__ import annotations

from dataclasses import replace as with_
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from models.batches import pair_inputs
from models.bundle import Bundle
from models.dataset import Dataset
from models.linear import Floats, Linear, fit_linear
from models.log import EventLog
from models.loop import predict
from models.progress import silent
from models.recipe import Anybody, ModelConfig, NoText, StarSpace
from models.replay import replay
from models.start import start
from models.text.bank import LiveBank, TermTable, TokenTable
from models.train import training_exposures
from models.world import SIZES, simulate, write
from tests.models.tiny import tiny_bundle, tiny_config

DEFAULT = tiny_config()
CONFIGS = {
    "default": DEFAULT,
    "hadamard": replace(DEFAULT, ranker=replace(DEFAULT.ranker, combine="hadamard")),
    "concat": replace(DEFAULT, ranker=replace(DEFAULT.ranker, combine="concat")),
    "no-edges": replace(DEFAULT, ranker=replace(DEFAULT.ranker, edges=False)),
    "no-metadata": replace(DEFAULT, tweet=replace(DEFAULT.tweet, metadata=False)),
    "starspace": replace(DEFAULT, user=StarSpace(interests=4)),
    "tweet-only": replace(DEFAULT, user=Anybody()),
    "no-text": replace(DEFAULT, text=NoText()),
}
HEADS = ["retweet", "like"]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("world")
    write(simulate(with_(SIZES["small"], tweets=60)), folder / "log")
    events = EventLog(folder / "log")
    return replay(events, training_exposures(events), folder / "dataset")


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_a_network_begins_as_the_linear_model(
    dataset: Dataset, tmp_path: Path, config: ModelConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_bundle(tmp_path / "bundle", HEADS, config=config)
    bundle = Bundle.from_pretrained(tmp_path / "bundle")
    network, tokens = bundle.network, bundle.tokens
    bank = LiveBank(TokenTable(dataset, tokens, tmp_path / "tokens.bin", silent, config.user.history), tokens)
    terms = TermTable.of(dataset, tokens, network, tmp_path / "tastes.bin")
    found: list[Linear] = []

    def fit(inputs: Floats, labels: Floats, weights: Floats) -> Linear:
        found.append(fit_linear(inputs, labels, weights))
        return found[0]

    monkeypatch.setattr("models.start.fit_linear", fit)
    n = len(dataset.exposures)
    start(network, dataset, terms, slice(0, n // 2), HEADS)
    rows = slice(n // 2, n)
    exposures = dataset.exposures[rows]
    inputs = network.linear_inputs(
        torch.from_numpy(pair_inputs(dataset, terms, exposures)),
        torch.from_numpy(dataset.tweets["features"][exposures["tweet"]]),
    ).numpy()
    wanted = inputs @ found[0].weights.T + found[0].bias
    bank.start_epoch(network)
    np.testing.assert_allclose(predict(network, bank, terms, dataset, rows), wanted, atol=1e-4)
    assert wanted.std(0).min() > 0.05


def test_of_many_exposures_a_network_begins_with_base_rates(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.start._FEW", 100)
    tiny_bundle(tmp_path / "bundle", HEADS)
    bundle = Bundle.from_pretrained(tmp_path / "bundle")
    terms = TermTable.of(dataset, bundle.tokens, bundle.network, tmp_path / "tastes.bin")
    start(bundle.network, dataset, terms, slice(0, 101), HEADS)
    labels = dataset.exposures["labels"][:101, :2] == 1
    rates = torch.from_numpy(labels.mean(0)).float().clamp(1e-6, 0.5)
    torch.testing.assert_close(bundle.network.ranker.heads.bias.sigmoid(), rates)
