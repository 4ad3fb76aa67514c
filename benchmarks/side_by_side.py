"""One workload through every system, end to end, in paired and interleaved runs: W1 and W2.

Knows nothing of what the workload is.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import eq
from typing import Final, NamedTuple

from msgspec.structs import asdict

from benchmarks.options import Options
from benchmarks.result import Result, ratio
from benchmarks.rig import Drained, Rig, running
from benchmarks.systems import Ours, Peer, System
from benchmarks.workload import Workload
from models.events import Prediction, ScoreRequest, Tweet
from streamer.settings import Settings

Events = Sequence[Tweet | ScoreRequest]


class _Entrant(NamedTuple):
    """A system, and the tweets it gets in one run: slow ones get fewer, rates are compared."""

    name: str
    start: Callable[[Settings], System]
    tweets: int


US: Final = "us"
_ENTRANTS: Final = (
    _Entrant(US, Ours, 5_000),
    _Entrant("idiomatic Faust", partial(Peer, "faust_agent"), 200),
    _Entrant("kafka-python loop", partial(Peer, "kafka_python_loop"), 400),
    _Entrant("confluent-kafka loop", partial(Peer, "confluent_loop"), 800),
    _Entrant("Quix Streams", partial(Peer, "quix_dataframe"), 400),
)


def side_by_side(
    options: Options,
    name: str,
    what: str,
    *,
    target: float | None = None,
    ratios: Mapping[str, float] | None = None,
    prepare: Callable[[Rig, Sequence[int]], None],
    events: Callable[[Rig, Sequence[int]], Events],
) -> list[Result]:
    """Ratios and rates of `events` of the first so many tweets, `prepare` being called before each run.

    `target` is our rate's, in predictions/s, `ratios` are those against peers, by name.
    """
    runs: dict[str, list[Drained]] = {entrant.name: [] for entrant in _ENTRANTS}
    sample: dict[tuple[str, str], Prediction] = {}
    with Rig(Workload.fanout(users=20_000)) as rig:
        rig.fill()

        def once(entrant: _Entrant, *, compare: bool = False) -> Drained:
            numbers = range(options.sized(entrant.tweets, 10))
            rig.forget_tweets()
            with running(rig, entrant.start) as stream:
                prepare(rig, numbers)
                drained = stream.drain(events(rig, numbers), rig.workload.readers(numbers))
                if compare:
                    predictions = stream.first_predictions()
                    sample.update(predictions if entrant.name == US else {})
                    require_same(entrant.name, sample, predictions)
            cpu = ", ".join(f"{key} {used:.1f}" for key, used in drained.cpu.items())
            options.say(
                f"  {entrant.name}: {drained.predictions:,} in {drained.seconds:.1f} s, "
                f"{drained.rate:,.0f}/s; processor seconds: {cpu}"
            )
            return drained

        # Not counted: the broker's Java compiles meanwhile. Of three rounds' first ones, which are ours, the
        # broker took 3.6, 2.6 and 1.0 s of processor time.
        once(_ENTRANTS[0])
        for number in range(options.rounds):
            for entrant in _ENTRANTS:
                runs[entrant.name].append(once(entrant, compare=not number))
    rates = {entrant: [run.rate for run in found] for entrant, found in runs.items()}
    title = f"{name}, {what}, predictions/s"
    peers = {entrant.name: _described(entrant) for entrant in _ENTRANTS if entrant.name != US}
    compared = [
        Result(
            name=title,
            value=ratio(rates[US], rates[entrant.name]),
            unit="x",
            target=(ratios or {}).get(entrant.name),
            peer=peers[entrant.name],
        )
        for entrant in _ENTRANTS
        if entrant.name != US
    ]
    absolutes = [
        Result(
            name=title,
            value=statistics.median(rates[entrant.name]),
            unit="predictions/s",
            target=target if entrant.name == US else None,
            peer=peers.get(entrant.name),
        )
        for entrant in _ENTRANTS
    ]
    costs = [
        Result(
            name=f"{name}, processor time of {process}",
            value=statistics.median(run.cpu[process] / run.predictions * 1e6 for run in runs[entrant.name]),
            unit="µs/prediction",
            higher_is_better=False,
            peer=peers.get(entrant.name),
        )
        for entrant in _ENTRANTS
        for process in ("system", "kafka", "redis")
    ]
    return [*compared, *absolutes, *costs]


def require_same(
    name: str, ours: Mapping[tuple[str, str], Prediction], theirs: Mapping[tuple[str, str], Prediction]
) -> None:
    """Raise `ValueError` unless the predictions that both have agree in every field."""
    both = ours.keys() & theirs.keys()
    if len(both) < len(theirs) / 10:
        raise ValueError(f"{name}: of {len(theirs):,} predictions, {len(both):,} can be compared with ours")
    for key in both:
        mine, other = asdict(ours[key]), asdict(theirs[key])
        for field in mine.keys() - {"scored_at"}:
            same = _close if isinstance(mine[field], float) else eq
            if not same(mine[field], other[field]):
                raise ValueError(f"{name}: {field} of {key} is {other[field]}, ours is {mine[field]}")


def _close(a: float, b: float) -> bool:
    # We write five digits; a tweet embedded among others differs by a bit of its float16 vector.
    return math.isclose(a, b, rel_tol=1e-2)


def _described(entrant: _Entrant) -> str:
    return f"{entrant.name} (on the first {entrant.tweets} tweets)"
