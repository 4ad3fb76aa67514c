"""What Redis keeps of a user and of a tweet at the default dimensions, and whether a worker grows.

Redis is asked for its own count (`used_memory`) before and after: keys, allocation and all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import numpy as np

from benchmarks.model import tweet_records
from benchmarks.options import Options
from benchmarks.result import Result
from benchmarks.rig import Rig, Stream, running
from benchmarks.workload import Workload
from models.state.stores import Stores

_USERS, _TWEETS = 20_000, 5_000
_USER_BYTES, _TWEET_BYTES = 800.0, 500.0
#: A worker's load while its size is watched, in tweets (of 200 followers on average) a second.
_RATE: Final = 40.0
#: MiB in ten minutes that count as flat: less than a percent of a worker.
_FLAT: Final = 5.0


def run(options: Options) -> list[Result]:
    """See the module."""
    with Rig(Workload.fanout(users=options.sized(_USERS, 500))) as rig:
        return [*_redis(rig, options), *_worker(rig, options)]


def _redis(rig: Rig, options: Options) -> list[Result]:
    workload, stores, users = rig.workload, rig.stores, len(rig.workload.users)
    tweets = list(workload.tweets(range(options.sized(_TWEETS, 500))))
    records = tweet_records(rig.model, tweets)
    edges = workload.readers(range(len(workload.authors)))
    places = range(users)
    rig.client.flushall()
    vector = _bytes(rig, stores, lambda to: workload.fill_vectors(to, rig.vectors)) / users
    state = _bytes(rig, stores, lambda to: workload.fill_states(to, rig.states, places)) / users
    shards = 4
    edge = _bytes(rig, stores, lambda to: workload.fill_edges(to, shards)) / edges
    tweet = _bytes(rig, stores, lambda to: to.tweets.put_new(records)) / len(tweets)
    everything = vector + state + edge * edges / users
    figures = (
        ("a user, vectors", vector, _USER_BYTES),
        ("a user, history and profile", state, None),
        (f"a user, everything, {edges / users:.0f} follows included", everything, None),
        ("an edge (follow, and what was done before)", edge, None),
        ("a tweet", tweet, _TWEET_BYTES),
    )
    return [
        Result(name=f"Redis: {what}", value=value, unit="bytes", target=target, higher_is_better=False)
        for what, value, target in figures
    ]


def _bytes(rig: Rig, stores: Stores, fill: Callable[[Stores], object]) -> int:
    """How much Redis has grown by."""
    before = rig.client.info("memory")["used_memory"]
    fill(stores)
    return int(rig.client.info("memory")["used_memory"]) - int(before)


def _worker(rig: Rig, options: Options) -> list[Result]:
    with running(rig) as stream:
        # Half of the users fit the caches by then, and the allocator has its arenas.
        numbers = range(options.sized(1_000))
        stream.drain(list(rig.workload.tweets(numbers)), rig.workload.readers(numbers))
        seconds, sizes = _watch(stream, len(numbers), options.seconds)
    half = len(sizes) // 2
    slope = float(np.polyfit(seconds[half:], sizes[half:], 1)[0]) if half > 1 else 0.0
    return [
        Result(
            name=f"a worker's resident size, growth in 10 minutes (measured over {options.seconds:.0f} s)",
            value=slope * 600 / 2**20,
            unit="MiB",
            target=_FLAT,
            higher_is_better=False,
        ),
        Result(name="a worker's resident size", value=sizes[-1] / 2**20, unit="MiB", higher_is_better=False),
    ]


def _watch(stream: Stream, first: int, duration: float) -> tuple[list[float], list[int]]:
    """The worker's size [n] at seconds [n] under a steady load of tweets from number `first` on."""
    started, number, seconds, sizes = time.monotonic(), first, [], []
    while (now := time.monotonic() - started) < duration:
        due = first + int(now * _RATE)
        stream.publish(stream.rig.workload.tweets(range(number, due)))
        number = due
        stream.system.check()
        seconds.append(now)
        sizes.append(stream.rss)
        time.sleep(0.25)
    return seconds, sizes
