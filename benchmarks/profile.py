"""Where the time of W1 and W2 goes: processor time by process and thread, and what threads are about."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Sequence

import msgspec

from benchmarks.options import Options
from benchmarks.result import Result
from benchmarks.rig import Rig, Stream, running
from benchmarks.sampled_worker import PORT_ENV, Sample
from benchmarks.systems import Ours
from benchmarks.workload import Workload
from models.events import ScoreRequest, Tweet
from streamer.local.process import HOST, free_port
from streamer.settings import Settings

_TWEETS = 2_500


class _SampledWorker(Ours):
    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._samples = free_port()

    def command(self) -> Sequence[str]:
        """The worker's, with the sampler around it."""
        *command, module, _ = super().command()
        assert module == "streamer.cli"
        return [*command[:1], f"{PORT_ENV}={self._samples}", *command[1:], "benchmarks.sampled_worker"]

    def sample(self) -> Sample:
        """What was seen since the last call."""
        with socket.create_connection((HOST, self._samples), 10) as connection:
            return msgspec.json.decode(connection.makefile("rb").read(), type=Sample)


def run(options: Options) -> list[Result]:
    """See the module."""
    found = []
    with Rig(Workload.fanout(users=20_000)) as rig:
        rig.fill()
        numbers = range(options.sized(_TWEETS, 10))
        with running(rig, _SampledWorker) as stream:
            found += _shares("W1", options, stream, list(rig.workload.tweets(numbers)), numbers)
            found += _shares("W2", options, stream, list(rig.workload.requests(numbers)), numbers)
    return found


def _shares(
    name: str, options: Options, stream: Stream, events: Sequence[Tweet | ScoreRequest], numbers: range
) -> list[Result]:
    worker = stream.system
    assert isinstance(worker, _SampledWorker)
    worker.sample()
    drained = stream.drain(events, stream.rig.workload.readers(numbers))
    sample = worker.sample()
    options.say(f"  {name}: {drained.rate:,.0f} predictions/s")
    whole = sum(drained.cpu.values())
    figures = {f"process {process}": used / whole for process, used in drained.cpu.items()}
    threads = sum(sample.cpu.values())
    for thread, used in Counter(sample.cpu).most_common():
        figures[f"thread {thread} of the worker"] = used / threads
        seen = Counter(sample.seen.get(thread, {}))
        for about, times in seen.most_common(12):
            figures[f"{thread}: {about}"] = times / seen.total()
    return [
        Result(name=f"{name}, sampled", value=drained.rate, unit="predictions/s"),
        *(
            Result(name=f"{name}, {what}", value=100 * share, unit="%", higher_is_better=False)
            for what, share in figures.items()
            if share >= 0.005
        ),
    ]
