"""`streamer subscribe`: predictions as they arrive, as a live table, lines, or JSON."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import rich_click as click
from rich.markup import escape

from streamer.cli.console import Output, json_option, settings_option
from streamer.cli.durations import duration

if TYPE_CHECKING:
    from rich.table import Table

    from models.events import Prediction
    from streamer.settings import Settings

#: Rows of the live table.
_ROWS = 20


@click.command()
@click.option("--user", help="Only predictions for this user; reads only that user's partition.")
@click.option("--tweet", help="Only predictions for this tweet.")
@click.option(
    "--min-probability",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="Only those at least so likely to retweet.",
)
@click.option("--limit", type=click.IntRange(min=1), help="End after so many predictions.")
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), help="End after so many seconds.")
@click.option(
    "--from-beginning", is_flag=True, help="Start with the oldest prediction kept, not with the next."
)
@settings_option
@json_option
def subscribe(
    user: str | None,
    tweet: str | None,
    min_probability: float,
    limit: int | None,
    seconds: float | None,
    from_beginning: bool,
    settings: Settings,
    out: Output,
) -> None:
    """Show predictions as they arrive, until Ctrl-C, --limit or --seconds.

    On a terminal the latest are shown as a table; into a pipe each is a line; with --json each is an object
    as in the format [cyan]pair[/] of the topic, whichever format the workers write.

    Example: [green]streamer subscribe --user 42 --min-probability 0.05 --json | jq .tweet_id[/]
    """
    from streamer.client.subscriber import Subscription, Wanted, subscription

    def arrivals(source: Subscription) -> Iterator[list[Prediction]]:
        deadline = None if seconds is None else time.monotonic() + seconds
        left = limit
        while left != 0 and (deadline is None or time.monotonic() < deadline):
            batch = source.poll(
                0.25 if deadline is None else min(0.25, max(0.0, deadline - time.monotonic()))
            )
            if left is not None:
                batch = batch[:left]
                left -= len(batch)
            yield batch

    seen, started = 0, time.monotonic()
    unreadable = 0
    with subscription(
        settings, Wanted(user, tweet, min_probability), from_beginning=from_beginning
    ) as source:
        try:
            for batch in _show(arrivals(source), settings, out):
                seen += len(batch)
        except KeyboardInterrupt:
            pass  # the usual way to end
        unreadable = source.unreadable
    if unreadable:
        out.warn(f"{unreadable:,} records of {settings.kafka.topic('predictions')} are no predictions")
    out.say(f"[green]{seen:,} predictions[/] in {duration(time.monotonic() - started)}")
    if not seen:
        out.next_step(
            "streamer lag  (do workers run, and keep up?), or --from-beginning for what was predicted before"
        )
    else:
        out.next_step("narrow down with --user, --tweet, --min-probability; --json feeds a program")


def _show(
    arrivals: Iterator[list[Prediction]], settings: Settings, out: Output
) -> Iterator[list[Prediction]]:
    """Show each batch and pass it on."""
    if out.as_json:
        for batch in arrivals:
            for prediction in batch:
                out.json(prediction)
            yield batch
    elif out.console.is_terminal:
        yield from _live(arrivals, settings, out)
    else:
        for batch in arrivals:
            for p in batch:
                cold = "  cold" if p.cold else ""
                tweet, user = escape(p.tweet_id), escape(p.user_id)
                out.say(f"{p.scored_at}  tweet {tweet}  user {user}  retweet {p.retweet:.5f}{cold}")
            yield batch


def _live(
    arrivals: Iterator[list[Prediction]], settings: Settings, out: Output
) -> Iterator[list[Prediction]]:
    from rich.live import Live

    latest: deque[Prediction] = deque(maxlen=_ROWS)
    count, started = 0, time.monotonic()
    with Live(console=out.console, refresh_per_second=8, transient=False) as live:
        for batch in arrivals:
            latest.extend(batch[-_ROWS:])
            count += len(batch)
            rate = count / max(time.monotonic() - started, 1e-3)
            live.update(
                _table(latest, f"{count:,} predictions, {rate:,.0f}/s, from {settings.kafka.bootstrap}")
            )
            yield batch


def _table(latest: deque[Prediction], caption: str) -> Table:
    from rich.table import Table

    table = Table("scored", "tweet", "author", "user", caption=escape(caption), caption_justify="left")
    for head in ("retweet", "like", "reply", "quote"):
        table.add_column(head, justify="right")
    for p in latest:
        clock = time.strftime("%H:%M:%S", time.localtime(p.scored_at / 1000))
        tweet, author, user = map(escape, (p.tweet_id, p.author_id, p.user_id))
        user += " [dim](cold)[/]" if p.cold else ""
        heads = ["" if value is None else f"{value:.2%}" for value in (p.like, p.reply, p.quote)]
        table.add_row(clock, tweet, author, user, f"[bold]{p.retweet:.2%}[/]", *heads)
    return table
