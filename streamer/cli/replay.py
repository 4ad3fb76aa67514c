"""`streamer replay`: an event log through the real stream, scored against what people did."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click
from rich.markup import escape

from streamer.cli.console import CommandError, Output, json_option, settings_option
from streamer.cli.durations import duration
from streamer.cli.folders import FolderToWrite
from streamer.cli.publish import moment

if TYPE_CHECKING:
    from streamer.replay.run import Replayed
    from streamer.settings import Settings

_UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}


def span(text: str) -> int:
    """Milliseconds of 90s, 15m, 1h, 7d or 2w."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text.strip())
    if found is None or not float(found[1]):
        raise click.BadParameter(f"{text!r} is no length of time: write 90s, 15m, 1h, 7d or 2w")
    return round(float(found[1]) * _UNITS[found[2]])


@click.command()
@click.argument("log", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--bundle", type=click.Path(path_type=Path, file_okay=False), help="The model (setting: bundle)."
)
@click.option(
    "--from", "start", type=moment, metavar="TIME", required=True, help="Begin of the period that is scored."
)
@click.option("--to", "end", type=moment, metavar="TIME", required=True, help="End of the period.")
@click.option(
    "--exposures",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Who was shown what; without it every prediction counts as shown.",
)
@click.option(
    "--window",
    type=span,
    metavar="SPAN",
    default="1h",
    show_default=True,
    help="What a score may not have seen yet, at most.",
)
@click.option(
    "--history",
    type=span,
    metavar="SPAN",
    help="How far back the state before the period goes; all by default.",
)
@click.option(
    "--history-window",
    type=span,
    metavar="SPAN",
    default="1d",
    show_default=True,
    help="The window while that is loaded.",
)
@click.option(
    "--frozen", is_flag=True, help="Leave out the period's engagements: what is learning online worth?"
)
@click.option("--local", is_flag=True, help="Start a Kafka and a Redis of its own for it (Java 17, Maven).")
@click.option("--report", type=FolderToWrite(), help="Folder for report.html.")
@settings_option
@json_option
def replay(
    log: Path,
    bundle: Path | None,
    start: int,
    end: int,
    exposures: Path | None,
    window: int,
    history: int | None,
    history_window: int,
    frozen: bool,
    local: bool,
    report: Path | None,
    settings: Settings,
    out: Output,
) -> None:
    """Replay the event log LOG through Kafka, workers and Redis, and score what arrives.

    What happened before --from is loaded first. Then, window by window, the tweets are published and scored,
    and after them the window's engagements, follows and profiles: no score sees a later event. The topics and
    the Redis database must be empty.

    Example: [green]streamer replay world --bundle bundle --from 2024-01-25 --to 2024-01-31 --local[/]
    """
    from models.log import EventLog, open_exposures
    from streamer.replay.run import Plan, run

    if start >= end:
        raise CommandError("--to must be after --from")
    plan = Plan(
        start_ms=start,
        end_ms=end,
        window_ms=window,
        history_ms=history,
        history_window_ms=history_window,
        frozen=frozen,
    )
    events = EventLog(log)
    table = None if exposures is None else open_exposures(exposures)
    if bundle is not None:
        settings = settings.model_copy(update={"bundle": bundle})
    if settings.bundle is None:
        raise CommandError(
            "no bundle is set: `streamer train` makes one; name it with --bundle or STREAMER_BUNDLE"
        )
    with _servers(settings, local) as where, out.progress() as show:
        result = run(events, table, plan, where, show)
    out.json(
        {
            **result.scores.plain(),
            "missing": result.missing,
            "predictions": result.predictions,
            "embeddings_computed": result.embeddings_computed,
            "dead_letters": result.dead_letters,
            "published": result.sent,
            "frozen": frozen,
            "seconds": round(result.seconds, 1),
        }
    )
    if report is not None:
        from models.report import write_report

        write_report(report, result.scores, result.labels, result.probabilities)
    _tell(result, report, out)
    out.next_step(
        f"streamer evaluate {settings.bundle} {log}  (the same figures offline)"
        if frozen
        else "the same with --frozen: what was learning as it went worth?"
    )


def _tell(result: Replayed, report: Path | None, out: Output) -> None:
    from streamer.cli.model import scores_table

    out.say(scores_table({"retweet": result.scores}))
    sent = ", ".join(f"{count:,} {topic}" for topic, count in result.sent.items())
    out.say(
        f"published {sent}; {result.embeddings_computed:,} embeddings, {result.predictions:,} predictions, "
        f"{result.dead_letters:,} dead letters in {duration(result.seconds)}"
    )
    if result.missing:
        out.say(
            f"{result.missing:,} exposures had no prediction: their users do not follow the author by then"
        )
    if report is not None:
        out.say(f"the page is {escape(str(report / 'report.html'))}")


@contextmanager
def _servers(settings: Settings, local: bool) -> Iterator[Settings]:
    """The settings, or with `local` the same with servers of their own while the context lasts."""
    if not local:
        yield settings
        return
    from streamer.local.kafka import LocalKafka
    from streamer.local.redis import LocalRedis
    from streamer.settings import KafkaSettings, RedisSettings

    with LocalKafka() as kafka, LocalRedis() as redis:
        yield settings.model_copy(
            update={
                "kafka": KafkaSettings(bootstrap=kafka.bootstrap, partitions=settings.kafka.partitions),
                "redis": RedisSettings(url=redis.url),
            }
        )
