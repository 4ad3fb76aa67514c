"""The benchmarks' command line: `make bench`, or `python -m benchmarks`."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Final

import msgspec

from benchmarks.options import Options
from benchmarks.result import Result, number, read, table, write
from streamer.errors import StreamerError
from streamer.local.process import LocalServerError

#: In the order in which they run: the module, and what it says of itself in --help.
PARTS: Final = {
    "transport": "record-batch transport against a stock Faust agent",
    "fanout": "W1: new tweets to all followers, end to end, against every peer",
    "warm": "W2: known tweets for named users, end to end, against every peer",
    "latency": "W4: publish to visible at 25 % and 50 % of capacity",
    "growth": "W5: speed and memory over numbers of users and followers; a celebrity among others",
    "memory": "Redis bytes per user and tweet; a worker's resident size over time",
    "start": "from exec of a warm worker to ready",
    "scoring": "model.score alone, beside the machine's limits",
    "embed": "W3: tweet vectors, without Kafka, against sentence-transformers and ONNX Runtime",
}
#: Run only when named: they take long, or explain figures rather than give them.
TOOLS: Final = {
    "learning_curve": "how near the model comes to the best possible, by exposures (about 40 minutes)",
    "profile": "where the time of W1 and W2 goes",
    "gpu": "a BERT-base on one GPU, against sentence-transformers on the same; without one, a smoke run",
}


def main() -> int:
    """Run the parts named; the exit status."""
    options = _arguments()
    known = PARTS | TOOLS
    names = options.parts or list(PARTS)
    if unknown := [name for name in names if name not in known]:
        print(f"no part {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    if options.table:
        print(table((name, read(name)) for name in names))
        return 0
    run_options = Options(options.rounds, options.scale, options.seconds, _say)
    done: dict[str, list[Result]] = {}
    failed: list[str] = []
    for name in names:
        started = time.monotonic()
        _say(f"{name}: {known[name]}")
        run: Callable[[Options], list[Result]] = import_module(f"benchmarks.{name}").run
        try:
            done[name] = run(run_options)
        except (LocalServerError, StreamerError, ValueError) as error:
            _say(f"  {name} failed: {error}")
            failed.append(name)
            continue
        if options.scale == 1:
            write(name, done[name])
        for result in done[name]:
            peer = f" [{result.peer}]" if result.peer else ""
            _say(f"  {result.name}{peer}: {number(result.value)} {result.unit}")
        _say(f"  took {time.monotonic() - started:.0f} s")
    if options.json:
        print(msgspec.json.encode(done).decode())
    else:
        print(f"\n{os.cpu_count()} cores, {platform.system()} {platform.machine()}\n")
        print(table(done.items()))
    return 1 if failed else 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    known = PARTS | TOOLS
    width = max(map(len, known))
    listed = "\n".join(f"  {name:{width}}  {what}" for name, what in known.items())
    parser = argparse.ArgumentParser(
        "benchmarks",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Measure the streamer beside peers, with a real Kafka and a real Redis on this machine.",
        epilog=f"parts:\n{listed}\n\nexample:\n  make bench ARGS='transport fanout --rounds 1'\n"
        "  make bench ARGS='memory --seconds 600'",
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help="what to measure; every part by default")
    parser.add_argument("--rounds", type=int, default=3, help="paired runs (default: %(default)s)")
    parser.add_argument(
        "--scale",
        type=float,
        default=1.0,
        help="multiply the workloads' sizes; other than 1, results are shown and not written",
    )
    parser.add_argument(
        "--seconds", type=float, default=20.0, help="length of sustained runs (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--table", action="store_true", help="measure nothing: the table of the last results")
    return parser.parse_args()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: temporary folders and servers go
    sys.exit(main())
