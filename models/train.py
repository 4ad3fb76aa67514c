"""Trains a bundle from an event log: replay, texts, epochs, calibration.

Knows nothing of terminals (see `models.progress`) or of the stream.
"""

from __future__ import annotations

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from models.bundle import Bundle, BundleConfig
from models.calibrate import fit_curve
from models.calibration import Curve
from models.card import model_card
from models.dataset import UNKNOWN, Dataset, sampling_weights
from models.events import HEADS
from models.log import EventLog, LogError, Table, choose_exposures, open_exposures
from models.loop import Loop, predict
from models.metrics import Scores, scores
from models.network import Network, pick_device
from models.progress import Progress, silent
from models.recipe import Bag, ModelConfig, Recipe
from models.replay import replay
from models.text.bank import Bank, FrozenBank, LiveBank, RefreshedBank, TermTable, TokenTable
from models.text.cache import TextCache, default_cache
from models.text.encode import encoder_fingerprint
from models.text.prepare import SAMPLE, Prepared, freeze, prepare_text
from models.text.terms import learn_weights


@dataclass(slots=True, frozen=True)
class TrainResult:
    """What came of a training: `held_out` are the figures on the last part of the exposures, by head."""

    bundle: Path
    fingerprint: str
    heads: tuple[str, ...]
    epochs: int
    seconds: float
    held_out: dict[str, Scores]
    skipped: dict[str, int]


def train(
    log: Path,
    out: Path,
    recipe: Recipe | None = None,
    progress: Progress = silent,
    *,
    exposures: Path | None = None,
    cache: Path | None = None,
    device: str = "auto",
) -> TrainResult:
    """Train on the log's `exposures_train` (or its only exposures) and write a bundle to `out`.

    `cache` keeps the text vectors of frozen encoders (default: `default_cache()`). Raises `LogError` where
    the log can't be used, `RecipeError` where the recipe can't.
    """
    start = time.monotonic()
    recipe = recipe or Recipe()
    torch.set_num_threads(recipe.training.threads or os.cpu_count() or 1)
    events = EventLog(log)
    table = open_exposures(exposures) if exposures else training_exposures(events)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".training-", dir=out) as folder:
        work = Path(folder)
        dataset = replay(events, table, work / "dataset", progress)
        bundle, epochs, held_out = fit(dataset, recipe, work, progress, cache or default_cache(), device)
    bundle.metrics = {"held_out": {head: figures.plain() for head, figures in held_out.items()}}
    fingerprint = bundle.save_pretrained(out, model_card(bundle.config, bundle.metrics))
    seconds = time.monotonic() - start
    heads = tuple(bundle.config.heads)
    return TrainResult(out, fingerprint, heads, epochs, seconds, held_out, dataset.info["skipped"])


def training_exposures(log: EventLog) -> Table:
    """The exposures to train on. Raises LogError where it is not clear which."""
    return choose_exposures(log, ("train",), "train on")


def fit(
    dataset: Dataset, recipe: Recipe, work: Path, progress: Progress, cache: Path, device: str = "auto"
) -> tuple[Bundle, int, dict[str, Scores]]:
    """Train on a replayed dataset; returns the bundle, the epochs taken and held-out figures by head."""
    training = recipe.training
    n = len(dataset.exposures)
    tail = slice(n - int(n * training.held_out), n)
    heads = dataset.heads(slice(0, tail.start))
    if "retweet" not in heads:
        raise LogError(
            f"{n - int(n * training.held_out)} exposures to train on, but not both retweeted and not "
            "retweeted ones among them: nothing can be learned"
        )
    torch.manual_seed(training.seed)
    sample = _sample(dataset)
    prepared = prepare_text(recipe.model, sample, training.seed)
    network = Network(recipe.model, len(heads), prepared.tokens.size, prepared.architecture)
    if prepared.weights:
        network.text.load_state_dict(prepared.weights)
    freeze(network.text, recipe.model.text)
    texts = [text if isinstance(text, str) else prepared.tokens.text_of(text) for text in sample]
    network.term_weights.copy_(torch.from_numpy(learn_weights(texts)))
    network.to(pick_device(device))
    bank = _bank(dataset, recipe.model, network, prepared, work, cache, progress)
    terms = TermTable.of(dataset, prepared.tokens, network.term_weights.cpu().numpy())
    loop = Loop(network, bank, terms, dataset, heads, recipe, progress)
    epochs = loop.run(slice(0, tail.start), tail)
    exposures = dataset.exposures[tail]
    logits = predict(network, bank, terms, dataset, tail)
    curves: dict[str, Curve] = {}
    held_out: dict[str, Scores] = {}
    for i, head in enumerate(heads):
        labels = exposures["labels"][:, HEADS.index(head)]
        known = labels != UNKNOWN
        weights = sampling_weights(exposures[known])
        curves[head] = fit_curve(training.calibration, logits[known, i], labels[known] == 1, weights)
        held_out[head] = scores(labels[known] == 1, curves[head].probabilities(logits[known, i]), weights)
    config = BundleConfig(heads=heads, recipe=recipe, architecture=network.text.architecture)
    return Bundle(config, network, prepared.tokens, curves), epochs, held_out


def _sample(dataset: Dataset) -> list[str | list[int]]:
    """Texts to learn a tokeniser from, spread evenly over the tweets in use."""
    used = dataset.tweets_in_use()
    return dataset.texts(used[:: max(len(used) // SAMPLE, 1)][:SAMPLE])


def _bank(
    dataset: Dataset,
    model: ModelConfig,
    network: Network,
    prepared: Prepared,
    work: Path,
    cache: Path,
    progress: Progress,
) -> Bank:
    tokens = prepared.tokens
    if model.text.frozen:
        name = encoder_fingerprint(network.text, tokens, fast=True)
        # A bag's embeddings are those of this log: nobody would ask for their vectors again.
        folder = work / "vectors" if isinstance(model.text, Bag) else cache
        return FrozenBank(dataset, tokens, network, TextCache(folder, name, network.text.width), progress)
    table = TokenTable(dataset, tokens, work / "tokens.bin", progress)
    if isinstance(model.text, Bag):
        return LiveBank(table, tokens)
    return RefreshedBank(table, tokens, network.text.width, progress)
