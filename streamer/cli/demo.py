"""`streamer demo`: the whole product on this machine, as a live table and a summary."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.markup import escape

from streamer.cli.console import CommandError, Output, json_option
from streamer.cli.durations import duration
from streamer.cli.folders import FolderToWrite

if TYPE_CHECKING:
    from streamer.demo.run import Summary


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(min=1), default=60.0, show_default=True, help="How long to stream."
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Of world and model.")
@click.option("--users", type=click.IntRange(min=20), help="People in the world.")
@click.option("--authors", type=click.IntRange(min=2), help="Those of them who write.")
@click.option("--tweets", type=click.IntRange(min=10), help="Tweets; the last quarter is streamed.")
@click.option(
    "--keep",
    type=FolderToWrite(),
    help="Folder to leave the world and the bundle in.",
)
@json_option
def demo(seconds: float, seed: int, keep: Path | None, out: Output, **sizes: Any) -> None:
    """Show the whole product at work: nothing to install, nothing left behind.

    Simulates a social network, trains a model on its past, starts a broker, Redis and a worker, streams the
    rest of the tweets and engagements, shows predictions as they arrive, and sums up how good they were,
    beside the best that anybody could do. Ctrl-C ends it early.

    Example: [green]streamer demo --seconds 20 --json | jq .auc[/]
    """
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise CommandError(f"{keep} is not empty: --keep needs a folder of its own")
    started = time.monotonic()
    with _interruptible(), _torch_leavings(), _folder(keep) as folder:
        from streamer.cli.demo_screen import Screen
        from streamer.demo.run import run
        from streamer.demo.world import WORLD

        given = {name: value for name, value in sizes.items() if value is not None}
        try:
            config = replace(WORLD, seed=seed, **given)
        except ValueError as error:
            raise CommandError(str(error)) from None
        with Screen(out) as screen:
            summary = run(config, folder, seconds, screen.progress, screen.tick)
    out.json(_plain(summary))
    _tell(summary, time.monotonic() - started, out)
    if keep is not None:
        out.say(f"the world and the bundle are in {escape(str(keep))}")
        out.next_step(f"streamer evaluate {keep}/bundle {keep}/world")
    else:
        out.next_step(
            "on your own data: streamer train LOG --out bundle, docker compose up, streamer topics create, "
            "streamer worker --bundle bundle, streamer publish FILE, streamer subscribe"
        )


def _plain(summary: Summary) -> dict[str, Any]:
    model = summary.model.plain() if summary.model else {}
    bayes = summary.bayes.plain() if summary.bayes else {}
    return {
        "tweets": summary.tweets,
        "embeddings_computed": summary.embeddings_computed,
        "predictions": summary.predictions,
        "dead_letters": summary.dead_letters,
        "auc": model.get("auc"),
        "bayes_auc": bayes.get("auc"),
        "ece": model.get("ece"),
        "latency_ms": summary.latency_ms,
        "streamed_tweets": summary.streamed,
        "streamed_engagements": summary.engagements,
        "exposures": model.get("exposures", 0),
        "positives": model.get("positives", 0),
        "rce": model.get("rce"),
        "bayes_rce": bayes.get("rce"),
        "cut_short": summary.cut_short,
    }


def _tell(summary: Summary, seconds: float, out: Output) -> None:
    from rich.table import Table

    table = Table(
        box=None, show_header=False, pad_edge=False, title="What the demo showed", title_justify="left"
    )
    table.add_column(style="bold", justify="right")
    table.add_column()
    once = "one for each tweet" if summary.embeddings_computed == summary.tweets else "NOT one for each tweet"
    table.add_row(f"{summary.tweets:,}", f"tweets in: {summary.streamed:,} live, the others known before")
    table.add_row(f"{summary.embeddings_computed:,}", f"embeddings computed: {once}")
    table.add_row(f"{summary.predictions:,}", "predictions out: one for each live tweet and follower")
    table.add_row(f"{summary.dead_letters:,}", "dead letters")
    if summary.model is not None and summary.bayes is not None:
        judged = f"{summary.model.exposures:,} exposures, {summary.model.positives:,} retweeted"
        table.add_row(
            f"{summary.model.auc:.3f}",
            f"AUC of what was predicted; {summary.bayes.auc:.3f} is the best possible here ({judged})",
        )
        table.add_row(
            f"{summary.model.ece:.4f}",
            f"calibration error (ECE); {summary.bayes.ece:.4f} for the true probabilities",
        )
    p50, p99 = summary.latency_ms["p50"], summary.latency_ms["p99"]
    if p50 is not None and p99 is not None:
        table.add_row(
            f"{p50:.0f} ms",
            f"from publishing to reading a prediction, median; {p99:.0f} ms for the slowest in a hundred\n"
            "[dim](through a mock broker that polls: no measure of the product)[/]",
        )
    out.say("")
    out.say(table)
    out.say(f"\nthe whole demo took {duration(seconds)}{', cut short' if summary.cut_short else ''}")


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep
    else:
        with TemporaryDirectory(prefix="streamer-demo-") as folder:
            yield Path(folder)


@contextmanager
def _torch_leavings() -> Iterator[None]:
    """A folder for what torch leaves in /tmp as soon as it is imported, which must come after this."""
    with TemporaryDirectory(prefix="streamer-demo-torch-") as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
        try:
            yield
        finally:
            del os.environ["TORCHINDUCTOR_CACHE_DIR"]


@contextmanager
def _interruptible() -> Iterator[None]:
    """The first Ctrl-C or SIGTERM interrupts; while that is being cleaned up after, later ones wait."""
    before: dict[signal.Signals, Any] = {}

    def interrupt(_signal: int, _frame: object) -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
