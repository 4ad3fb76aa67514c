"""`ServingModel.score` alone, users in the matrix, beside what the machine could do at most.

A pair costs so many multiplications and so many bytes of its user's row, which lies anywhere: the first is
held against a large matrix product, the second against reading rows of that size at random places.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.model import flops, make_bundle, row_bytes, score, tweet_records, user_rows, user_vectors
from benchmarks.options import Options
from benchmarks.result import Result
from benchmarks.workload import Workload, user_states
from models.features import PAIR_FEATURES
from models.serving import ServingModel
from streamer.user_matrix import MOST_USERS

_TARGET: Final = 1_000_000
#: Within this factor of what binds.
_LIMIT: Final = 2.0
_USERS, _TWEETS = 20_000, 1_000
_TRIES: Final = 5


def run(options: Options) -> list[Result]:
    """See the module."""
    pairs, model = pairs_per_second(options.sized(20) * MOST_USERS, options.rounds)
    matmul, memory = _matmul(), _gather(row_bytes(model))
    by_matmul, by_memory = matmul / flops(model), memory / row_bytes(model)
    binding, limit = min((by_matmul, "matmul"), (by_memory, "memory"))[::-1]
    return [
        Result(
            name=f"score alone: pairs/s that {binding} allows over pairs/s measured",
            value=limit / pairs,
            unit="x",
            target=_LIMIT,
            higher_is_better=False,
            peer=f"the machine's {binding} limit",
        ),
        Result(name="score alone", value=pairs, unit="pairs/s", target=_TARGET),
        Result(
            name=f"matrix product, {flops(model):,} operations a pair", value=matmul / 1e9, unit="GFLOP/s"
        ),
        Result(
            name=f"rows at random places, {row_bytes(model):,} bytes a pair", value=memory / 1e9, unit="GB/s"
        ),
    ]


def pairs_per_second(count: int, rounds: int, device: str = "cpu") -> tuple[float, ServingModel]:
    """Of about `count` pairs in calls as large as the score stage's, and the model that scored them."""
    workload = Workload.fanout(users=_USERS)
    with tempfile.TemporaryDirectory() as folder:
        model = ServingModel.load(make_bundle(Path(folder), workload.texts), device)
    model.warm_up()
    past = list(workload.tweets(range(2_000)))
    known = user_vectors(model, user_states(500, past), past)
    rows = user_rows(model, workload.users, [known[i % len(known)] for i in range(_USERS)])
    tweets = list(tweet_records(model, past[:_TWEETS]).values())
    vectors = np.stack([tweet.vector for tweet in tweets])
    terms = np.stack([tweet.terms for tweet in tweets])
    rng = np.random.default_rng(1)
    features = rng.exponential(size=(MOST_USERS, len(PAIR_FEATURES))).astype(np.float32)
    calls = [
        (np.sort(rng.integers(0, _TWEETS, MOST_USERS)), rng.integers(0, _USERS, MOST_USERS))
        for _ in range(count // MOST_USERS)
    ]

    def all_pairs() -> None:
        for tweet, slots in calls:
            score(model, vectors, terms, tweet, rows, slots, features)

    all_pairs()  # as it is once caches are warm
    return len(calls) * MOST_USERS / statistics.median(_seconds(all_pairs) for _ in range(rounds)), model


def _matmul() -> float:
    """Floating-point operations a second of a large float32 product, on all cores."""
    a, b = torch.rand(1_024, 1_024), torch.rand(1_024, 1_024)
    return 2 * 1_024**3 / min(_seconds(lambda: torch.mm(a, b)) for _ in range(_TRIES))


def _gather(width: int) -> float:
    """Bytes a second read in rows of `width` bytes at random places, on all cores."""
    rng = np.random.default_rng(1)
    rows = rng.integers(0, 2**62, (_USERS, width // 8))
    places = rng.integers(0, _USERS, 50 * _USERS)
    _sum_rows(rows, places[:100])
    best = min(_seconds(lambda: _sum_rows(rows, places)) for _ in range(_TRIES))
    return float(len(places) * 8 * rows.shape[1]) / best


@numba.njit(parallel=True, cache=False)
def _sum_rows(rows: NDArray[np.int64], places: NDArray[np.int64]) -> int:
    total = 0
    for i in numba.prange(len(places)):
        row = rows[places[i]]
        part = 0
        for j in range(len(row)):
            part += row[j]
        total += part
    return total


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
