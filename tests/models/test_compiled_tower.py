"""The compiled tower against torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.compiled_tower import CompiledTower, DeviceTower, make_tower
from models.features import TWEET_FEATURES
from models.recipe import TweetConfig
from models.tweet_tower import TweetTower

CPU = torch.device("cpu")
N, WIDTH = 40, 18


def tower(*, author_width: int = 8, metadata: bool = True, fitted: bool = True) -> TweetTower:
    """Random weights, none of them 0, and edges learned from few values: some bins are not in use."""
    torch.manual_seed(0)
    config = TweetConfig(
        dimensions=12, hidden=20, author_buckets=7, author_width=author_width, metadata=metadata
    )
    out = TweetTower(config, WIDTH).eval().requires_grad_(False)
    for parameter in out.parameters():
        parameter.add_(torch.randn_like(parameter), alpha=0.3)
    if not metadata:
        out.metadata.weight.zero_()
    if fitted:
        out.features.fit(torch.from_numpy(features()[:9]))
    return out


def features() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    rng = np.random.default_rng(1)
    out = rng.normal(size=(N, len(TWEET_FEATURES))).astype(np.float32) * 3
    out[:, ::2] = out[:, ::2] > 0
    return out


@pytest.mark.parametrize("author_width", [0, 8])
@pytest.mark.parametrize("metadata", [True, False])
@pytest.mark.parametrize("fitted", [True, False])
def test_vectors_are_those_of_torch(author_width: int, metadata: bool, fitted: bool) -> None:
    exact = tower(author_width=author_width, metadata=metadata, fitted=fitted)
    rng = np.random.default_rng(0)
    texts = rng.normal(size=(N, WIDTH)).astype(np.float32)
    authors = rng.integers(0, 2**32, N, dtype=np.uint32)
    authors[:3] = 0, 1, 2**32 - 1
    expected = DeviceTower(exact, CPU)(texts, authors, features())
    found = make_tower(exact, CPU)
    assert isinstance(found, CompiledTower)
    np.testing.assert_allclose(found(texts, authors, features()), expected, rtol=1e-4, atol=1e-5)


def test_a_tweet_does_not_know_its_neighbours() -> None:
    found = CompiledTower(tower())
    rng = np.random.default_rng(2)
    texts = rng.normal(size=(N, WIDTH)).astype(np.float32)
    authors = rng.integers(0, 2**32, N, dtype=np.uint32)
    together = found(texts, authors, features())
    order = rng.permutation(N)
    for part in np.array_split(order, 9):
        np.testing.assert_array_equal(found(texts[part], authors[part], features()[part]), together[part])
    texts[5] = np.nan
    broken = found(texts, authors, features())
    assert np.isnan(broken[5]).all()
    np.testing.assert_array_equal(np.delete(broken, 5, 0), np.delete(together, 5, 0))
