"""Trains a bundle from an event log: replay, texts, epochs, calibration.

Knows nothing of terminals (see `models.progress`) or of the stream.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.batches import targets_of
from models.bundle import KIND, Bundle, BundleConfig
from models.calibrate import at_level, fit_curve
from models.calibration import Curve
from models.card import model_card
from models.curves import Curves
from models.dataset import Dataset
from models.log import TRAIN, EventLog, Table, choose_exposures, open_exposures
from models.loop import Loop
from models.losses import losses_of, nothing_to_learn
from models.manifest import expect_room
from models.metrics import Scores, scores
from models.network import Network
from models.processes import Processes
from models.progress import Phase, Progress, silent
from models.recipe import Bag, Calibration, ModelConfig, NoText, Recipe
from models.replay import replayed
from models.state.decay import ACTION_INDEX
from models.state.user import POSITIVE
from models.text.bank import Bank, FrozenBank, LiveBank, RefreshedBank, TermTable, TokenTable, terms_in_use
from models.text.cache import TextCache, default_cache
from models.text.encode import encoder_fingerprint
from models.text.learn_tastes import READERS, learn_tastes
from models.text.numerics import with_numerics
from models.text.prepare import SAMPLE, check_of, freeze, prepare_text
from models.text.terms import learn_weights
from models.text.tokens import Tokens
from models.unfinished import CHECKPOINT, Mark, unfinished, unfinished_folder

#: Exposures whose readers' profiles are looked at, spread over all.
_PROFILES: Final = 1 << 18


@dataclass(slots=True, frozen=True)
class TrainResult:
    """What came of a training: `held_out` are the figures on the last part of the exposures, by head."""

    bundle: Path
    fingerprint: str
    heads: tuple[str, ...]
    epochs: int
    seconds: float
    held_out: dict[str, Scores]
    #: Exposures that could not be used by reason, rows of the log's tables by table and reason.
    skipped: dict[str, int]
    rejected: dict[str, dict[str, int]]
    #: What people should know of the log: see `models.losses`.
    warnings: list[str]
    #: Whether this process is the one that reports, of those that trained together.
    first: bool = True


def train(
    log: Path,
    out: Path,
    recipe: Recipe | None = None,
    progress: Progress = silent,
    *,
    exposures: Path | None = None,
    cache: Path | None = None,
    device: str = "auto",
    resume: bool = False,
    logs: Path | None = None,
) -> TrainResult:
    """Train on the log's `exposures_train` (or its only exposures) and write a bundle to `out`.

    `cache` keeps the text vectors of frozen encoders (default: `default_cache()`), `logs` the curves for
    TensorBoard (default: `out`/logs). With `resume`, a training that was cut off goes on where its last
    checkpoint is. Under `torchrun` or `accelerate launch` every process calls this with the same arguments;
    the first one writes. Raises `LogError` where the log can't be used, `RecipeError` where the recipe can't,
    `CheckpointError` where there is nothing to go on with or `out` is taken, `BundleError` where it
    holds a baseline, `DeviceError` where there is no such device.
    """
    start = time.monotonic()
    recipe = recipe or Recipe()
    expect_room(out, KIND)
    processes = Processes(device)
    torch.set_num_threads(processes.threads(recipe.training.threads))
    progress = progress if processes.first else silent
    events = EventLog(log)
    table = open_exposures(exposures) if exposures else training_exposures(events)
    with ExitStack() as stack:
        if processes.first:
            files = [file for each in (*events.tables.values(), table) for file in each.files]
            mark = Mark.of(recipe, files, processes.count)
            stack.enter_context(unfinished(out, mark, resume=resume))
        folder = unfinished_folder(out)
        with processes.first_before_others():
            dataset = replayed(events, table, folder / "dataset", progress, check_of(recipe.model))
        curves = stack.enter_context(Curves((logs or out / "logs") if processes.first else None))
        bundle, epochs, held_out = fit(
            dataset, recipe, folder, progress, cache or default_cache(), processes=processes, curves=curves
        )
        processes.wait()
        bundle.metrics = {"held_out": {head: figures.plain() for head, figures in held_out.items()}}
        if processes.first:
            bundle.save_pretrained(out, model_card(bundle.config, bundle.metrics))
        losses = losses_of(dataset)
    return TrainResult(
        bundle=out,
        fingerprint=bundle.fingerprint,
        heads=tuple(bundle.config.heads),
        epochs=epochs,
        seconds=time.monotonic() - start,
        held_out=held_out,
        skipped=losses.skipped,
        rejected=losses.rejected,
        warnings=losses.warnings(),
        first=processes.first,
    )


def training_exposures(log: EventLog) -> Table:
    """The exposures to train on. Raises LogError where it is not clear which."""
    return choose_exposures(log, TRAIN, "train on")


def fit(
    dataset: Dataset,
    recipe: Recipe,
    work: Path,
    progress: Progress,
    cache: Path,
    device: str = "auto",
    *,
    processes: Processes | None = None,
    curves: Curves | None = None,
) -> tuple[Bundle, int, dict[str, Scores]]:
    """Train on a replayed dataset; returns the bundle, the epochs taken and held-out figures by head.

    The held-out exposures, which are the newest, say when to stop; the network is judged and calibrated on
    them, and then learns from them too. A head that has no labels there has no figures.
    What folder `work` has of this very training is used: see `models.unfinished`.
    """
    processes = processes or Processes(device)
    training = recipe.training
    n = len(dataset.exposures)
    tail = slice(n - int(n * training.held_out), n)
    heads = dataset.heads(slice(0, tail.start))
    if "retweet" not in heads:
        raise nothing_to_learn(dataset, n - int(n * training.held_out))
    # To learn by exposures that taught the tastes themselves is to learn by the answers: on a real log
    # boosted trees lost two points of RCE to that, and won one where tastes were older.
    old = _engaged_before(dataset, int(n * training.taste_part))
    with processes.first_before_others():
        bundle = _untrained(dataset, recipe, heads, old, work / "untrained", progress)
        network, tokens = bundle.network.to(processes.device), bundle.tokens
        bank = _bank(dataset, recipe.model, network, tokens, work, cache, progress, processes.index)
    freeze(network.text, recipe.model.text)
    file = work / f"tastes-{processes.index}.bin"
    terms = TermTable.of(dataset, tokens, network, file, old, progress)
    processes.seed(training.seed)
    loop = Loop(
        network, bank, terms, dataset, heads, recipe, progress, processes, curves or Curves(None), work
    )
    saved = work / CHECKPOINT
    epochs = loop.run(slice(0, tail.start), tail, saved)
    bundle.calibration, held_out = _judged(loop, tail, training.calibration)
    if training.refit and tail.stop > tail.start:
        bundle.calibration = _refitted(loop, tail, saved, bundle.calibration)
    return bundle, epochs, held_out


def _refitted(loop: Loop, tail: slice, saved: Path, curves: dict[str, Curve]) -> dict[str, Curve]:
    """Learn from what was held out too; returns curves that leave the level of probabilities where it was.

    What was held out may be a few hours and some hundred tweets. Calibration has learned their rate by then;
    did the weights move it too, it would count twice: on a simulated log with 157 tweets held out, ECE .0169
    instead of .0108, RCE 22.9 instead of 23.7. The level is that of the exposures just before.
    """
    before = slice(max(2 * tail.start - tail.stop, 0), tail.start)
    old = loop.logits(before)
    loop.refit(tail, saved)
    new = loop.logits(before)
    if not len(old):
        return curves
    levels = [float(curves[head].probabilities(old[:, i]).mean()) for i, head in enumerate(loop.heads)]
    return {
        head: at_level(curves[head], new[:, i], level)
        for i, (head, level) in enumerate(zip(loop.heads, levels, strict=True))
    }


def _judged(loop: Loop, rows: slice, kind: Calibration) -> tuple[dict[str, Curve], dict[str, Scores]]:
    """Curves and figures of exposures that the network has not learned from, by head."""
    logits = loop.logits(rows)
    curves: dict[str, Curve] = {}
    figures: dict[str, Scores] = {}
    targets = targets_of(loop.dataset.exposures[rows], loop.heads, torch.device("cpu"))
    for i, head in enumerate(loop.heads):
        weights = targets.weights[:, i].numpy()
        known = weights > 0
        if not known.any():
            curves[head] = Curve()
            continue
        labels, weights = targets.labels[known, i].numpy() == 1, weights[known]
        curves[head] = fit_curve(kind, logits[known, i], labels, weights)
        figures[head] = scores(labels, curves[head].probabilities(logits[known, i]), weights)
    return curves, figures


def _untrained(
    dataset: Dataset, recipe: Recipe, heads: list[str], old: int, folder: Path, progress: Progress
) -> Bundle:
    """A bundle to begin with, kept so that all processes, and whoever goes on, begin with the same.

    Of the engagements, the first `old` may be used.
    """
    if not (folder / "manifest.json").exists():
        torch.manual_seed(recipe.training.seed)
        sample = _sample(dataset)
        prepared = prepare_text(recipe.model, sample, recipe.training.seed, progress)
        network = Network(recipe.model, len(heads), prepared.tokens.size, prepared.architecture)
        network.text.load_state_dict(network.text.state_dict() | prepared.weights)
        texts = [text if isinstance(text, str) else prepared.tokens.text_of(text) for text in sample]
        if not isinstance(recipe.model.text, NoText):
            phase = Phase(progress, "learn tastes", None, "tweets")
            weights = learn_weights(texts)
            network.term_weights.copy_(torch.from_numpy(weights))
            if recipe.model.tastes:
                done = _done(dataset, old)
                terms = terms_in_use(dataset, prepared.tokens, weights, phase, engaged=True)
                network.learn(
                    learn_tastes(
                        terms,
                        weights,
                        done["reader"],
                        done["tweet"],
                        _profiles(dataset),
                        recipe.model.tastes,
                        recipe.training.seed,
                    )
                )
            phase.end()
        config = BundleConfig(heads=heads, recipe=recipe, architecture=network.text.architecture)
        Bundle(config, network, prepared.tokens, {}).save_pretrained(folder)
    return Bundle.from_pretrained(folder)


def _engaged_before(dataset: Dataset, exposures: int) -> int:
    """How many engagements there had been before the exposure that follows the first `exposures`."""
    if exposures >= len(dataset.exposures):
        return len(dataset.engaged)
    return int(dataset.users["engaged"][dataset.exposures["user"][exposures]])


def _done(dataset: Dataset, old: int) -> NDArray[np.void]:
    """ENGAGED of some READERS, what they did only, among the first `old`."""
    rows = dataset.engaged[:old]
    rows = rows[np.isin(rows["action"], [ACTION_INDEX[action] for action in POSITIVE])]
    readers = np.unique(rows["reader"])
    some = readers[:: -(-len(readers) // READERS) or 1]
    return rows[np.isin(rows["reader"], some)]


def _profiles(dataset: Dataset) -> dict[int, NDArray[np.uint16]]:
    """The profile words of readers of the exposures, by short key."""
    exposures = dataset.exposures
    rows = np.unique(exposures["user"][:: -(-len(exposures) // _PROFILES) or 1])
    readers, first = np.unique(dataset.users["reader"][rows], return_index=True)
    words = dataset.users["snapshot"]["stats"]["words"][rows[first]]
    return dict(zip(readers.tolist(), words, strict=True))


def _sample(dataset: Dataset) -> list[str | list[int]]:
    """Texts to learn a tokeniser from, spread evenly over the tweets in use."""
    used = dataset.tweets_in_use()
    return dataset.texts(used[:: max(len(used) // SAMPLE, 1)][:SAMPLE])


def _bank(
    dataset: Dataset,
    model: ModelConfig,
    network: Network,
    tokens: Tokens,
    work: Path,
    cache: Path,
    progress: Progress,
    process: int,
) -> Bank:
    if model.text.frozen:
        encoder = with_numerics(network.text, tokens)
        name = encoder_fingerprint(network.text, tokens, encoder.numerics)
        # A bag's embeddings are those of this log: nobody would ask for their vectors again.
        folder = work / "vectors" if isinstance(model.text, Bag) else cache
        vectors = TextCache(folder, name, encoder.width)
        return FrozenBank(dataset, tokens, encoder, vectors, progress, model.user.history)
    table = TokenTable(dataset, tokens, work / f"tokens-{process}.bin", progress, model.user.history)
    if isinstance(model.text, Bag | NoText) or not model.user.history:
        return LiveBank(table, tokens)
    return RefreshedBank(table, tokens, network.text.width, progress)
