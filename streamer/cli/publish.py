"""`streamer publish`: events from a file to their topics, at full speed, at a rate, or in event time."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from streamer.cli.console import CommandError, Output, json_option, settings_option
from streamer.cli.durations import duration

if TYPE_CHECKING:
    from streamer.client.pace import Pace
    from streamer.client.sources import Source
    from streamer.settings import Settings

_TOPICS = ("tweets", "engagements", "follows", "users", "score-requests")


def moment(text: str) -> int:
    """Milliseconds since the epoch of ISO 8601 (UTC where no zone is given), or of such milliseconds."""
    if text.isdigit() and len(text) > 8:
        return int(text)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is no time: write 2015-05-01, 2015-05-01T12:00 or milliseconds"
        ) from None
    return round((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


@click.command()
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--topic", type=click.Choice(_TOPICS), help="What the rows are; told from their fields by default."
)
@click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="Events per second.")
@click.option(
    "--speedup",
    type=click.FloatRange(min=0, min_open=True),
    help="Replay in event time, so many times faster than it happened: 3600 makes an hour a second.",
)
@click.option("--from", "start", type=moment, metavar="TIME", help="Leave out what happened before.")
@click.option("--to", "end", type=moment, metavar="TIME", help="Leave out what happened then or later.")
@click.option("--limit", type=click.IntRange(min=1), help="Stop after so many events.")
@click.option("--dry-run", is_flag=True, help="Validate and count only; Kafka is not asked.")
@settings_option
@json_option
def publish(
    file: Path,
    topic: str | None,
    rate: float | None,
    speedup: float | None,
    start: int | None,
    end: int | None,
    limit: int | None,
    dry_run: bool,
    settings: Settings,
    out: Output,
) -> None:
    """Publish the events in FILE, each validated, and keyed as the contracts say.

    FILE is the folder of an event log (its tables merged by time), one table of it (.parquet or .jsonl),
    score requests (.jsonl), a RecSys Challenge TSV, or tweets as X's API v2 returns them (.json, .jsonl).
    Rows that are no valid events are counted, not sent. A profile or follow without a time goes first.

    Example: [green]streamer publish world/ --from 2024-01-25 --speedup 3600[/]
    """
    from streamer.client.pace import Pace
    from streamer.client.sources import open_source

    if rate and speedup:
        raise CommandError("--rate and --speedup both set the pace: give one of them")
    if start is not None and end is not None and start >= end:
        raise CommandError("--to must be after --from")
    started = time.monotonic()
    with open_source(file, topic) as source:
        sent = _publish(source, Pace(rate, speedup), start, end, limit, dry_run, settings, out)
        what, rejected = source.what, source.rejected
    seconds = time.monotonic() - started
    if not sent and rejected:
        reason = rejected.most_common(1)[0][0]
        raise CommandError(
            f"{file}: none of {rejected.total():,} rows is a valid event; most often: {reason}"
        )
    out.json({"sent": sent, "rejected": rejected, "seconds": round(seconds, 3)})
    verb = "valid" if dry_run else "sent"
    counts = ", ".join(f"{n:,} {name}" for name, n in sent.items()) or "nothing"
    out.say(f"[green]{verb}[/] {counts} in {duration(seconds)} (read as {what})")
    for reason, count in rejected.most_common(5):
        out.warn(f"{count:,} rows not sent: {reason}")
    out.next_step("streamer publish without --dry-run" if dry_run else "streamer subscribe --from-beginning")


def _publish(
    source: Source,
    pace: Pace,
    start: int | None,
    end: int | None,
    limit: int | None,
    dry_run: bool,
    settings: Settings,
    out: Output,
) -> Counter[str]:
    from models.progress import Phase
    from streamer.client.publisher import publisher
    from streamer.client.topics import INPUTS, require

    if not dry_run:
        require(settings, INPUTS)
    sent: Counter[str] = Counter()
    total = min(filter(None, (source.rows, limit)), default=None)
    with nullcontext() if dry_run else publisher(settings) as sender, out.progress() as show:
        phase = Phase(show, "checking" if dry_run else "publishing", total, "events")
        for done, (at, name, event) in enumerate(source.events(start, end), 1):
            pace.wait(at)
            if sender is not None:
                sender.send(name, event)
            sent[name] += 1
            if not done % 64:
                phase.to(done)
            if done == limit:
                break
        phase.done = sent.total()
        phase.end()
    return sent
