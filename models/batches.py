"""Batches of exposures for the network: each user state and each tweet of a batch is computed once.

Knows nothing of losses, nor of where text vectors come from (`models.text.bank`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.dataset import UNKNOWN, Dataset, sampling_weights
from models.events import HEADS
from models.histories import depth, histories, reader_terms
from models.network import Network
from models.text.bank import Bank, TermTable
from models.text.coverage import HISTORY_TERMS, asked, coverage, sketch
from models.text.likeness import codes, likeness


class Targets(NamedTuple):
    """`labels` float [n, heads], and their `weights` [n, heads], 0 where nobody recorded it.

    An exposure without any action that was kept with rate r stands for 1/r of them. That is exact for every
    head, whatever the actions have to do with each other, and leaves the logits those of the world.
    """

    labels: Tensor
    weights: Tensor


class Judged(NamedTuple):
    """Logits [n, heads], and what the user encoder itself wants to learn by, or None."""

    logits: Tensor
    loss: Tensor | None


def pair_inputs(dataset: Dataset, terms: TermTable, exposures: NDArray[np.void]) -> NDArray[np.float32]:
    """What the ranker knows of EXPOSURE rows [n] beside vectors [n, e]: `pair_features`, `coverage`, and
    `likeness`.
    """
    users, user_of = np.unique(exposures["user"], return_inverse=True)
    tweets, tweet_of = np.unique(exposures["tweet"], return_inverse=True)
    readers = dataset.users[users]
    m = depth(readers["snapshot"], terms.history)
    items = terms.rows[readers["rows"][:, :m], :HISTORY_TERMS]
    sketches = sketch(reader_terms(readers["snapshot"], items))
    asks = asked(terms.rows[tweets], terms.weights, terms.tastes)
    words = readers["snapshot"]["stats"]["words"]
    leanings = codes(terms.tastes.leanings(terms.readers[users], words))
    return np.concatenate(
        [
            exposures["features"],
            coverage(asks, tweet_of, sketches, user_of),
            likeness(asks.tastes, tweet_of, leanings, user_of),
        ],
        axis=1,
    )


def judge(
    network: Network, bank: Bank, terms: TermTable, dataset: Dataset, exposures: NDArray[np.void]
) -> Judged:
    """What the network makes of EXPOSURE rows [n]."""
    device = network.device()
    users, user_of = np.unique(exposures["user"], return_inverse=True)
    readers = dataset.users[users]
    m = depth(readers["snapshot"], network.config.user.history)
    rows = readers["rows"][:, :m].astype(np.int64)
    known = rows >= 0
    shown = exposures["tweet"].astype(np.int64)
    tweets, places = np.unique(np.concatenate([shown, rows[known]]), return_inverse=True)
    candidates = np.zeros(len(tweets), np.bool_)
    candidates[places[: len(shown)]] = True
    meta = dataset.tweets[tweets]

    def tensor(array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    texts = bank.vectors(network, tweets, candidates)
    vectors = network.tweet(texts, tensor(meta["author"].astype(np.int64)), tensor(meta["features"]))
    slots = np.zeros(rows.shape, np.int64)
    slots[known] = places[len(shown) :]
    items = vectors[tensor(slots)] * tensor(known).unsqueeze(-1)
    tastes, words = terms.readers[users], readers["snapshot"]["stats"]["words"]
    leaning = terms.tastes.features(tastes, terms.tastes.leanings(tastes, words))
    people = network.users(histories(readers["snapshot"], items, known, leaning, readers["reader"]))
    features = tensor(pair_inputs(dataset, terms, exposures))
    logits = network.pairs(people, tensor(user_of), vectors, tensor(places[: len(shown)]), features)
    return Judged(logits, people.loss)


def targets_of(exposures: NDArray[np.void], heads: list[str], device: torch.device) -> Targets:
    """What to learn of EXPOSURE rows [n]."""
    columns = [HEADS.index(head) for head in heads]
    labels = exposures["labels"][:, columns]
    weights = (labels != UNKNOWN).astype(np.float32)
    sampled = sampling_weights(exposures)
    if sampled is not None:
        weights *= sampled.astype(np.float32)[:, None]
    return Targets(
        labels=torch.from_numpy((labels == 1).astype(np.float32)).to(device),
        weights=torch.from_numpy(weights).to(device),
    )
