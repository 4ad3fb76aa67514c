"""Training end to end, on a log with a plain rule: people retweet what is like what they retweeted before."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from msgspec.structs import replace

from models.bundle import Bundle
from models.calibration import Curve
from models.dataset import EXPOSURE, Dataset
from models.evaluate import evaluate, evaluate_dataset
from models.events import Engagement, Follow, Tweet
from models.log import EventLog, LogError, LogWriter
from models.progress import Step, silent
from models.recipe import (
    Attention,
    Bag,
    Cnn,
    Lstm,
    ModelConfig,
    RankerConfig,
    Recipe,
    TextConfig,
    TrainingConfig,
    Transformer,
    TweetConfig,
)
from models.replay import replay
from models.serving import ServingModel
from models.train import fit, train

T = 1_700_000_000_000
WORDS = {
    "music": ["song", "band", "guitar", "concert", "melody", "drums", "singer", "chorus"],
    "sport": ["goal", "match", "team", "league", "striker", "keeper", "penalty", "referee"],
}


def write_log(
    path: Path, tweets: int = 400, users: int = 12, like: bool = False, keep_rate: float | None = None
) -> Path:
    """Half of the users retweet music, the others sport; every tweet is shown to all.

    With a `keep_rate`, only that share of the idle training exposures is written.
    """
    luck = np.random.default_rng(1)
    rng = np.random.default_rng(0)
    exposures: dict[str, list[dict[str, Any]]] = {"train": [], "valid": []}
    with LogWriter(path) as log:
        for user in range(users):
            log.write(Follow(follower_id=f"u{user}", author_id="ann", action="follow", at=0))
        for i in range(tweets):
            topic = list(WORDS)[rng.integers(2)]
            text = " ".join(rng.choice(WORDS[topic], 5))
            at = T + i * 600_000
            log.write(Tweet(tweet_id=str(i), author_id=["ann", "bob"][i % 2], created_at=at, text=text))
            for user in range(users):
                fits = (user % 2 == 0) == (topic == "music")
                acts = bool(rng.random() < (0.6 if fits else 0.02))
                row = {"user_id": f"u{user}", "tweet_id": str(i), "shown_at": at, "retweet": acts}
                if like:
                    row["like"] = bool(rng.random() < 0.3)
                train_row = i < 0.8 * tweets
                if keep_rate is not None and train_row:
                    row["keep_rate"] = keep_rate
                if keep_rate is None or not train_row or acts or luck.random() < keep_rate:
                    exposures["train" if train_row else "valid"].append(row)
                if acts:
                    log.write(Engagement(user_id=f"u{user}", tweet_id=str(i), action="retweet", at=at + 1000))
        for name, rows in exposures.items():
            log.write_batch(f"exposures_{name}", pa.RecordBatch.from_pylist(rows))
    return path


def recipe(text: TextConfig, **training: Any) -> Recipe:
    # Of 3,456 exposures, a third of the rates counts; large batches make few steps.
    rates = {"learning_rate": 3e-3, "text_learning_rate": 3e-3}
    settings: dict[str, Any] = {"epochs": 3, "batch": 256, "threads": 1} | rates | training
    model = ModelConfig(
        text=text,
        tweet=TweetConfig(dimensions=16, hidden=16, author_buckets=64, author_width=8, dropout=0.0),
        user=Attention(heads=2, interests=4, dropout=0.0),
        ranker=RankerConfig(hidden=32, hidden_last=16, dropout=0.0),
    )
    return Recipe(model=model, training=TrainingConfig(**settings))


BAG = Bag(vocabulary=120, width=16, frozen=False)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_log(tmp_path_factory.mktemp("log"))


@pytest.mark.parametrize(
    "text",
    [
        BAG,
        Bag(vocabulary=120, width=16, frozen=True),
        Transformer(vocabulary=120, layers=1, width=32),
        Lstm(vocabulary=120, embedding=16, units=16),
        Cnn(vocabulary=120, embedding=16, filters=16, dropout=0.0),
    ],
    ids=["bag", "frozen", "transformer", "lstm", "cnn"],
)
def test_the_rule_is_found(log: Path, tmp_path: Path, text: TextConfig) -> None:
    steps: list[Step] = []
    epochs = 8  # an encoder from scratch learns nothing for three epochs, then all at once
    result = train(
        log,
        tmp_path / "bundle",
        recipe(text, epochs=epochs, patience=epochs),
        steps.append,
        cache=tmp_path / "cache",
    )
    assert result.heads == ("retweet",)
    learned = {"replay", "learn words", "learn tastes", "look for words", "epoch 1"}
    assert learned <= {step.phase for step in steps if step.finished}
    found = evaluate(tmp_path / "bundle", log, report=tmp_path / "report").retweet
    assert found.exposures == 80 * 12
    assert found.auc > 0.8  # a guess has 0.5, the rule itself about 0.87
    assert found.rce > 20
    assert (tmp_path / "report" / "report.html").read_text().count("<svg") == 4
    assert not list((tmp_path / "bundle").glob(".training*"))


def test_the_same_seed_gives_the_same_bundle(log: Path, tmp_path: Path) -> None:
    first = train(log, tmp_path / "a", recipe(BAG, epochs=1))
    second = train(log, tmp_path / "b", recipe(BAG, epochs=1))
    other = train(log, tmp_path / "c", recipe(BAG, epochs=1, seed=1))
    assert first.fingerprint == second.fingerprint != other.fingerprint


def test_what_was_held_out_judges_and_then_is_learned_from(log: Path, tmp_path: Path) -> None:
    events = EventLog(log)
    whole = replay(events, events.exposures["train"], tmp_path / "a")
    n = len(whole.exposures)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    exposures = np.memmap(tmp_path / "b" / "exposures.bin", EXPOSURE, mode="r+")
    labels = exposures["labels"][n - int(n * 0.1) :, 0]
    labels[::10] ^= 1  # some of what is judged by turns round, too little to prefer the start
    exposures.flush()

    def trained(name: str, refit: int) -> tuple[torch.Tensor, float]:
        chosen = recipe(BAG, epochs=1, refit=refit, calibration="none")
        work = tmp_path / f"{name}{refit}"
        bundle, _, held_out = fit(Dataset(tmp_path / name), chosen, work, silent, tmp_path / "cache")
        return bundle.network.ranker.heads.weight, held_out["retweet"].auc

    (same, _), (also, _) = trained("a", 0), trained("b", 0)
    assert torch.equal(same, also)
    (true, auc), (turned, other) = trained("a", 2), trained("b", 2)
    assert auc > other + 0.02
    assert not torch.equal(true, turned)


def test_what_training_makes_worse_stays_as_it_began(log: Path, tmp_path: Path) -> None:
    result = train(log, tmp_path / "bundle", recipe(BAG, epochs=4, learning_rate=1.0, refit=0))
    assert result.epochs == 0
    assert not Bundle.from_pretrained(tmp_path / "bundle").network.ranker.heads.weight.any()


def test_learning_what_was_held_out_leaves_the_level(log: Path, tmp_path: Path) -> None:
    """Whatever its labels: here everybody retweets everything."""
    events = EventLog(log)
    dataset = replay(events, events.exposures["train"], tmp_path / "dataset")
    n = len(dataset.exposures)
    tail = slice(n - int(n * 0.1), n)
    exposures = np.memmap(tmp_path / "dataset" / "exposures.bin", EXPOSURE, mode="r+")
    exposures["labels"][tail, 0] = 1
    exposures.flush()

    def level(refit: int) -> float:
        chosen = recipe(BAG, epochs=1, refit=refit, calibration="platt")
        found = Dataset(tmp_path / "dataset")
        bundle, _, _ = fit(found, chosen, tmp_path / f"{refit}", silent, tmp_path / "cache")
        found.exposures = found.exposures[2 * tail.start - n : tail.start]
        return float(evaluate_dataset(ServingModel(bundle, "cpu"), found)[:, 0].mean())

    assert level(5) == pytest.approx(level(0), rel=1e-2)


def test_without_a_held_out_part_every_epoch_counts(log: Path, tmp_path: Path) -> None:
    result = train(log, tmp_path / "bundle", recipe(BAG, held_out=0.0, epochs=3, patience=1))
    assert result.epochs == 3
    assert Bundle.from_pretrained(tmp_path / "bundle").calibration["retweet"] == Curve()


def test_frozen_layers_stay_and_the_others_learn(log: Path, tmp_path: Path) -> None:
    text = Transformer(vocabulary=120, layers=2, width=32, frozen_layers=1)
    untrained: dict[str, torch.Tensor] = {}

    def show(step: Step) -> None:
        if step.phase == "epoch 1" and not untrained:
            folder = tmp_path / "bundle" / ".training" / "untrained"
            untrained.update(Bundle.from_pretrained(folder).network.state_dict())

    train(log, tmp_path / "bundle", recipe(text, epochs=1, refit=1), show)
    trained = Bundle.from_pretrained(tmp_path / "bundle").network.state_dict()
    moved = {name for name, value in trained.items() if not torch.equal(value, untrained[name])}
    of_text = {name for name in trained if name.startswith("text.")}
    assert moved & of_text == {name for name in of_text if ".layer.1." in name}
    assert "ranker.heads.weight" in moved


def test_sampled_negatives_do_not_shift_probabilities(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", tweets=1500, keep_rate=0.25)
    train(log, tmp_path / "bundle", recipe(BAG, epochs=6, held_out=0.25))
    found = evaluate(tmp_path / "bundle", log).retweet
    # Nothing is left out of the validation exposures: 0.04 here, and 0.2 when calibrated to the sample.
    assert found.ece < 0.1


def test_every_labelled_action_has_a_head(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log", tweets=60, like=True)
    result = train(log, tmp_path / "bundle", recipe(BAG, epochs=1))
    assert result.heads == ("retweet", "like")
    assert set(Bundle.from_pretrained(tmp_path / "bundle").calibration) == {"retweet", "like"}
    assert set(evaluate(tmp_path / "bundle", log).heads) == {"retweet", "like"}


def test_one_class_only_is_an_error(tmp_path: Path) -> None:
    with LogWriter(tmp_path / "log") as writer:
        writer.write(Tweet(tweet_id="1", author_id="a", created_at=T, text="x"))
        rows = [{"user_id": f"u{i}", "tweet_id": "1", "shown_at": T, "retweet": False} for i in range(20)]
        writer.write_batch("exposures_train", pa.RecordBatch.from_pylist(rows))
    with pytest.raises(LogError, match="nothing can be learned"):
        train(tmp_path / "log", tmp_path / "bundle", recipe(BAG))


def test_retweets_that_are_all_held_out_are_said_to_be(tmp_path: Path) -> None:
    with LogWriter(tmp_path / "log") as writer:
        writer.write(Tweet(tweet_id="1", author_id="a", created_at=T, text="x"))
        rows = [
            {"user_id": f"u{i}", "tweet_id": "1", "shown_at": T + i, "retweet": i == 19} for i in range(20)
        ]
        writer.write_batch("exposures_train", pa.RecordBatch.from_pylist(rows))
    with pytest.raises(LogError, match=r"18 exposures to train on.* with the last 2, which are held out"):
        train(tmp_path / "log", tmp_path / "bundle", recipe(BAG))


def test_a_log_without_exposures_is_an_error(tmp_path: Path) -> None:
    with LogWriter(tmp_path / "log") as writer:
        writer.write(Tweet(tweet_id="1", author_id="a", created_at=T, text="x"))
    with pytest.raises(LogError, match="which exposures to train on"):
        train(tmp_path / "log", tmp_path / "bundle", recipe(BAG))
    with pytest.raises(LogError, match="is not a folder"):
        train(tmp_path / "nothing", tmp_path / "bundle", recipe(BAG))


def test_tweets_out_of_the_source_vocabulary_are_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", *WORDS["music"], *WORDS["sport"]]))
    with LogWriter(tmp_path / "log") as writer:
        for i in range(40):
            ids = [2 + i % 16, 2 + (i + 1) % 16]
            ids = [*ids, 999_999] if i in (3, 38) else ids
            writer.write(Tweet(tweet_id=str(i), author_id="a", created_at=T + i, text_tokens=ids))
            writer.write(Engagement(user_id="u1", tweet_id=str(i), action="retweet", at=T + i))
        rows = [
            {"user_id": f"u{user}", "tweet_id": str(i), "shown_at": T + 100, "retweet": (i + user) % 3 == 0}
            for i in range(40)
            for user in range(4)
        ]
        writer.write_batch("exposures_train", pa.RecordBatch.from_pylist(rows))
    chosen = recipe(BAG, epochs=1)
    model = replace(chosen.model, source_vocabulary=str(tmp_path / "vocab.txt"))
    result = train(tmp_path / "log", tmp_path / "bundle", replace(chosen, model=model))
    reason = "the tweet can't be read (the first: token id 999999 is out of the vocabulary of 18 entries)"
    assert result.skipped == {reason: 8}
