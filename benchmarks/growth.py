"""W5: what a prediction costs as users and audiences grow, and what a celebrity does to everybody else."""

from __future__ import annotations

import statistics
from typing import Final

import numpy as np

from benchmarks.options import Options
from benchmarks.paced import latencies, paced
from benchmarks.result import Result
from benchmarks.rig import Rig, Stream, running
from benchmarks.workload import Workload

_USERS: Final = (1_000, 10_000, 100_000, 1_000_000)
_AUDIENCES: Final = (10, 100, 1_000, 10_000, 100_000)
_CELEBRITY: Final = 100_000
#: For the vectors of all readers here, of whom there are up to 180,000 at a time (`cache_mb`).
_CACHE_MB: Final = 1_024
#: Predictions of one run at least, and tweets at most.
_PREDICTIONS, _MOST_TWEETS = 200_000, 2_000
#: Ordinary tweets among which a celebrity's come: followers of each author, tweets a second, and the seconds
#: between the celebrity's.
_ORDINARY, _RATE, _EVERY_S = 100, 50.0, 5.0


def run(options: Options) -> list[Result]:
    """See the module."""
    with Rig(Workload.make(1_000, [1])) as rig:
        return [*_users(rig, options), *_audiences(rig, options), *_celebrity(rig, options)]


def _users(rig: Rig, options: Options) -> list[Result]:
    rates: dict[int, float] = {}
    memory: dict[int, int] = {}
    for users in [options.sized(users, 500) for users in _USERS]:
        rig.use(Workload.make(users, [200] * min(users, 1_000)))
        with running(rig, cache_mb=_CACHE_MB) as stream:
            rates[users], memory[users] = _rate(stream, options, 200), stream.rss
        options.say(f"  {users:,} users: {rates[users]:,.0f} predictions/s, {memory[users] / 2**20:,.0f} MiB")
    least, most = min(rates), max(rates)
    with running(rig) as stream:
        crowded = _rate(stream, options, 200)
    options.say(f"  {most:,} users, a cache that is too small: {crowded:,.0f} predictions/s")
    return [
        Result(
            name=f"W5, {most:,} users, 200 followers, the default cache (of 122,000 users)",
            value=crowded,
            unit="predictions/s",
        ),
        Result(
            name=f"W5, predictions/s with {most:,} users over {least:,} users",
            value=rates[most] / rates[least],
            unit="x",
            peer=f"us with {least:,} users",
        ),
        *(
            Result(name=f"W5, {users:,} users, 200 followers", value=rate, unit="predictions/s")
            for users, rate in rates.items()
        ),
        *(
            Result(
                name=f"W5, {users:,} users, worker's resident size",
                value=size / 2**20,
                unit="MiB",
                higher_is_better=False,
            )
            for users, size in memory.items()
        ),
    ]


def _audiences(rig: Rig, options: Options) -> list[Result]:
    found = []
    users = options.sized(_CELEBRITY, 500) + 1
    for followers in [size for size in _AUDIENCES if size < users]:
        authors = min(max(_PREDICTIONS // followers, 2), 1_000, users)
        rig.use(Workload.make(users, [followers] * authors))
        with running(rig, warm_up=2 if followers > 1_000 else 64, cache_mb=_CACHE_MB) as stream:
            rate, size = _rate(stream, options, followers), stream.rss
        options.say(f"  {followers:,} followers: {rate:,.0f} predictions/s, {size / 2**20:,.0f} MiB")
        what = f"W5, {users - 1:,} users, {followers:,} followers"
        found += [
            Result(name=what, value=rate, unit="predictions/s"),
            Result(
                name=f"{what}, worker's resident size", value=size / 2**20, unit="MiB", higher_is_better=False
            ),
        ]
    return found


def _rate(stream: Stream, options: Options, followers: int) -> float:
    """Predictions a second once caches hold what they can: the first run does not count."""
    count = options.sized(min(max(_PREDICTIONS // followers, 2), _MOST_TWEETS), 2)
    workload, rates = stream.rig.workload, []
    for first in range(0, count * (options.rounds + 1), count):
        numbers = range(first, first + count)
        rates.append(stream.drain(list(workload.tweets(numbers)), workload.readers(numbers)).rate)
    return statistics.median(rates[1:])


def _celebrity(rig: Rig, options: Options) -> list[Result]:
    users = options.sized(_CELEBRITY, 500) + 1
    # One author has them all; `Workload` shuffles authors.
    workload = Workload.make(users, [users - 1, *[_ORDINARY] * 200])
    authors = len(workload.authors)
    star = next(i for i, audience in enumerate(workload.audiences) if len(audience) == users - 1)
    ordinary = [number for number in range(10 * authors * int(_RATE)) if number % authors != star]
    rig.use(workload)
    with running(rig, warm_up=2, cache_mb=_CACHE_MB) as stream:
        count = int(_RATE * options.seconds)
        paced(stream, ordinary[:100], _RATE)
        alone = latencies(paced(stream, ordinary[100 : 100 + count], _RATE))
        times = np.arange(1.0, options.seconds - 1, _EVERY_S).tolist()
        stars = {at: authors * (1_000 + i) + star for i, at in enumerate(times)}
        seen = paced(stream, ordinary[100 + count : 100 + 2 * count], _RATE, between=stars)
    spans = [(one.sent, one.last) for one in seen if one.number in stars.values()]
    beside = latencies(
        one
        for one in seen
        if one.number not in stars.values() and any(low <= one.sent < high for low, high in spans)
    )
    p99, p99_alone = float(np.percentile(beside, 99)), float(np.percentile(alone, 99))
    length = statistics.median(high - low for low, high in spans) * 1000
    ordinary_p99 = "W5, ordinary tweets' p99"
    figures = (
        (f"{ordinary_p99} while one of {users - 1:,} followers is scored", p99),
        (f"{ordinary_p99} at other times", p99_alone),
        (f"W5, tweet of {users - 1:,} followers, all its predictions", length),
    )
    return [
        Result(
            name=figures[0][0], value=p99 / p99_alone, unit="x", higher_is_better=False, peer="other times"
        ),
        *(Result(name=what, value=ms, unit="ms", higher_is_better=False) for what, ms in figures),
    ]
