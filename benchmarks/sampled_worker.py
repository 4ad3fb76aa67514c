"""A worker that looks at the stacks of its own threads, two hundred times a second.

A profile of a whole worker: which of its threads used how much of the processors, and what each was about. To
everybody who connects to the port in `BENCH_SAMPLES_PORT` it tells what it saw since it was last asked.
Knows nothing of the stages but in which modules their work is.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from types import FrameType
from typing import Final

import msgspec
import psutil

from streamer.local.process import HOST
from streamer.settings import Settings
from streamer.worker import run

PORT_ENV: Final = "BENCH_SAMPLES_PORT"
_PAUSE_S: Final = 0.005

#: What a thread is about when the innermost of these frames is in this file (and function, if one is named).
#: After a colon comes the function.
_ABOUT: Final = (
    ("streamer/stores/notices.py", "", "notices of changed users"),
    ("streamer/stores/records.py", "", "Redis: "),
    ("streamer/stores/edges.py", "", "Redis: "),
    ("models/features.py", "pair_features", "pair features"),
    ("streamer/pairs.py", "", "pair features: joining"),
    ("streamer/user_matrix.py", "", "user matrix"),
    ("streamer/predictions.py", "", "record encoding"),
    ("streamer/pair_writer.py", "", "record encoding"),
    ("streamer/producer.py", "", "produce: packing and sending"),
    ("aiokafka/producer", "", "produce: packing and sending"),
    ("aiokafka/record", "", "fetch or send: record format"),
    ("aiokafka/", "", "Kafka client"),
    ("faust/", "", "Faust"),
    ("streamer/transport.py", "", "Kafka client"),
    ("models/serving.py", "embed", "tweets: model.embed"),
    ("models/serving.py", "terms", "tweets: terms"),
    ("models/serving.py", "score", "model.score"),
    ("streamer/stages/embed.py", "", "tweets: the rest"),
    ("streamer/stages/", "", "score stage: the rest"),
)
_IDLE: Final = (
    "threading.py",
    "selectors.py",
    "queue.py",
    "concurrent/futures/thread.py",
    "mode/",
    "base_events.py",
)


class Sample(msgspec.Struct):
    """Processor seconds by thread, and by thread how often it was seen at what. Idle ones are not counted."""

    cpu: dict[str, float]
    seen: dict[str, dict[str, int]]


class Sampler:
    """Looks until the process ends."""

    def __init__(self, port: int) -> None:
        self._seen: dict[str, Counter[str]] = {}
        self._cpu: dict[int, float] = {}
        self._server = socket.create_server((HOST, port))
        for target in (self._look, self._answer):
            threading.Thread(target=target, daemon=True, name=f"sampler{target.__name__}").start()

    def _look(self) -> None:
        while True:
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():
                name = names.get(ident, "?")
                if not name.startswith("sampler") and (about := _about(frame)):
                    self._seen.setdefault(name, Counter())[about] += 1
            time.sleep(_PAUSE_S)

    def _answer(self) -> None:
        while True:
            connection, _ = self._server.accept()
            seen: dict[str, dict[str, int]] = {**self._seen}
            self._seen = {}
            with connection, suppress(OSError):
                connection.sendall(msgspec.json.encode(Sample(self._used(), seen)))

    def _used(self) -> dict[str, float]:
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        used: Counter[str] = Counter()
        for thread in psutil.Process().threads():
            now = thread.user_time + thread.system_time
            used[names.get(thread.id, "native threads")] += now - self._cpu.get(thread.id, 0.0)
            self._cpu[thread.id] = now
        return dict(used)


def _about(frame: FrameType | None) -> str | None:
    """What a thread does; None when it waits."""
    assert frame is not None
    if any(part in frame.f_code.co_filename for part in _IDLE):
        return None
    innermost = frame
    while frame is not None:
        file, function = frame.f_code.co_filename, frame.f_code.co_name
        for path, only, about in _ABOUT:
            if path in file and (not only or only == function):
                return about + frame.f_code.co_qualname if about.endswith(": ") else about
        frame = frame.f_back
    return f"other: {'/'.join(innermost.f_code.co_filename.split('/')[-2:])}"


def main() -> int:
    """Work until told to stop."""
    Sampler(int(os.environ[PORT_ENV]))
    return run(Settings.load())


if __name__ == "__main__":
    sys.exit(main())
