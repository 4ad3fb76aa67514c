"""Both scorers give what the network gives in training."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from models.features import PAIR_FEATURES
from models.network import Network
from models.recipe import ModelConfig, ProfileOnly, RankerConfig
from models.rounding import INTEREST, VECTOR, pack
from models.scorer import Scorer, UserRows, make_scorer
from models.scorer.device import DeviceScorer
from models.small_layers import Floats
from models.state.tweet import TERMS
from models.state.vector import vector_dtype
from models.text.coverage import COVERAGE, Asked, asked, coverage
from models.text.likeness import LIKENESS, likeness
from models.text.terms import BUCKETS
from models.users.base import UserVectors
from tests.models.tiny import random_tastes, tiny_config

USERS, TWEETS, PAIRS = 9, 5, 20_000  # enough pairs for several threads


def network(config: ModelConfig) -> Network:
    torch.manual_seed(0)
    found = Network(config, 3, 50, {})
    features = len(PAIR_FEATURES) + len(COVERAGE) + len(LIKENESS)
    values = torch.randn(500, features)
    values[:, 3] = 0.0  # a column that says nothing
    values[:, 4] = (values[:, 4] > 1).float()
    found.ranker.features.fit(values)
    torch.nn.init.normal_(found.ranker.skip.weight, std=0.1)
    return found.eval()


class Case:
    """Random users and tweets, and what the network makes of all their pairs."""

    def __init__(self, config: ModelConfig, features: Floats | None = None) -> None:
        rng = np.random.default_rng(0)
        self.network = network(config)
        d, user = config.tweet.dimensions, config.user
        k, w = user.interests, user.interest_width
        self.records = np.zeros(USERS, vector_dtype(d, k, w, config.tastes))
        self.records["vector"] = rng.integers(-128, 128, (USERS, d))
        filled = rng.integers(0, k + 1, USERS)
        filled[:2] = 0, k
        codes = rng.integers(-8, 8, (USERS, k, w)) * (np.arange(k) < filled[:, None])[:, :, None]
        self.records["interests"] = pack(codes.astype(np.int8))
        self.records["filled"] = filled
        self.records["sketch"] = rng.integers(0, 256, self.records["sketch"].shape)
        self.keys = np.arange(USERS, dtype=np.uint32)
        self.tweets = rng.normal(size=(TWEETS, d)).astype(np.float32)
        terms = np.sort(rng.integers(0, BUCKETS, (TWEETS, TERMS)).astype(np.uint16))[:, ::-1]
        terms[0] = 0
        self.records["leaning"] = rng.integers(-127, 128, self.records["leaning"].shape)
        self.records["leaning"][0] = 0
        tastes = random_tastes(config.tastes)
        self.asked: Asked = asked(terms, np.linspace(0, 8, BUCKETS, dtype=np.float32), tastes)
        self.tweet = rng.integers(0, TWEETS, PAIRS)
        self.user = rng.integers(0, USERS, PAIRS)
        if features is None:
            features = (3 * rng.normal(size=(PAIRS, len(PAIR_FEATURES)))).astype(np.float32)
        self.features = features
        covered = coverage(self.asked, self.tweet, self.records["sketch"].copy(), self.user)
        like = likeness(self.asked.tastes, self.tweet, self.records["leaning"].copy(), self.user)
        people = UserVectors(
            torch.from_numpy(self.records["vector"].astype(np.float32)) * VECTOR.step,
            torch.from_numpy(codes.astype(np.float32)) * INTEREST.step,
            torch.from_numpy(filled),
        )
        inputs = torch.from_numpy(np.concatenate([self.features, covered, like], axis=1))
        with torch.inference_mode():
            logits: Tensor = self.network.pairs(
                people,
                torch.from_numpy(self.user),
                torch.from_numpy(self.tweets),
                torch.from_numpy(self.tweet),
                inputs,
            )
        self.wanted = logits.numpy()

    def rows(self, scorer: Scorer, slots: np.ndarray[tuple[int], np.dtype[np.intp]]) -> UserRows:
        rows = scorer.rows(32)
        rows.set(slots, self.records, self.keys)
        return rows


@pytest.fixture(
    scope="module",
    params=[
        tiny_config(),
        ModelConfig(ranker=RankerConfig(hidden=64, hidden_last=32)),
        ModelConfig(user=ProfileOnly(), ranker=RankerConfig(combine="hadamard")),
    ],
    ids=["tiny", "default", "profile"],
)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


GPU = pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"))


@pytest.fixture(params=["cpu", "device", GPU])
def scorer(request: pytest.FixtureRequest, case: Case) -> Scorer:
    if request.param == "cuda":
        return DeviceScorer(copy.deepcopy(case.network).to("cuda"))
    if request.param == "device":
        return DeviceScorer(case.network)
    return make_scorer(case.network, torch.device("cpu"))


def test_the_logits_are_the_network_s(case: Case, scorer: Scorer) -> None:
    slots = np.array([30, 2, 4, 6, 8, 1, 3, 5, 7])
    found = scorer.logits(
        case.tweets, case.asked, case.tweet, case.rows(scorer, slots), slots[case.user], case.features
    )
    assert np.ptp(case.wanted, axis=0).min() > 0.5
    np.testing.assert_allclose(found, case.wanted, atol=1e-4, rtol=1e-4)


def test_features_at_and_beyond_their_edges() -> None:
    config, rng = ModelConfig(ranker=RankerConfig(hidden=64, hidden_last=32)), np.random.default_rng(1)
    codes = network(config).ranker.features
    edges = codes.low[: len(PAIR_FEATURES)].numpy()
    tops = edges + 1 / np.where(codes.scale > 0, codes.scale, np.inf)[: len(PAIR_FEATURES)]
    far = np.full((len(edges), 2), [-1e30, 1e30])
    choices = np.concatenate([edges, tops, far], axis=1).astype(np.float32)
    columns = np.arange(len(PAIR_FEATURES))
    case = Case(config, choices[columns, rng.integers(0, choices.shape[1], (PAIRS, len(columns)))])
    scorer = make_scorer(case.network, torch.device("cpu"))
    rows = case.rows(scorer, np.arange(USERS))
    found = scorer.logits(case.tweets, case.asked, case.tweet, rows, case.user, case.features)
    np.testing.assert_allclose(found, case.wanted, atol=1e-4, rtol=1e-4)


def test_what_is_not_a_number_stays_so(case: Case, scorer: Scorer) -> None:
    features, broken = case.features.copy(), np.arange(7, PAIRS, 13)
    features[broken, np.arange(len(broken)) % features.shape[1]] = np.nan
    rows = case.rows(scorer, np.arange(USERS))
    found = scorer.logits(case.tweets, case.asked, case.tweet, rows, case.user, features)
    assert np.flatnonzero(np.isnan(found).any(axis=1)).tolist() == broken.tolist()


def test_a_pair_does_not_depend_on_the_others(case: Case, scorer: Scorer) -> None:
    rows = case.rows(scorer, np.arange(USERS))
    together = scorer.logits(case.tweets, case.asked, case.tweet, rows, case.user, case.features)
    order = np.random.default_rng(1).permutation(PAIRS)
    shuffled = np.concatenate(
        [
            scorer.logits(
                case.tweets, case.asked, case.tweet[part], rows, case.user[part], case.features[part]
            )
            for part in np.array_split(order, [1, 2, 9, 700, 9_000])
        ]
    )
    np.testing.assert_allclose(shuffled, together[order], atol=1e-5)


def test_no_pairs_are_no_logits(case: Case, scorer: Scorer) -> None:
    none = np.zeros(0, np.intp)
    rows = case.rows(scorer, np.arange(USERS))
    assert scorer.logits(case.tweets, case.asked, none, rows, none, case.features[:0]).shape == (0, 3)
    assert rows.row_bytes > case.records.itemsize
