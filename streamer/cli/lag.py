"""`streamer lag`: how far each stage is behind, in records and in seconds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import rich_click as click

from streamer.cli.console import Output, json_option, settings_option
from streamer.cli.durations import duration

if TYPE_CHECKING:
    from rich.table import Table

    from streamer.client.lag import PartitionLag
    from streamer.settings import Settings


@click.command()
@click.argument("stages", nargs=-1, metavar="[STAGE]...")
@click.option(
    "--watch",
    type=click.FloatRange(min=0.2),
    metavar="SECONDS",
    help="Measure again and again, until Ctrl-C.",
)
@settings_option
@json_option
def lag(stages: tuple[str, ...], watch: float | None, settings: Settings, out: Output) -> None:
    """Show per stage and partition how many records wait, and how long the oldest has.

    Asks Kafka only, so it also sees stages that no worker runs. With --json one object per partition.

    Example: [green]streamer lag score --watch 2[/]
    """
    from streamer.cli.console import CommandError
    from streamer.client import lag as client
    from streamer.client.topics import STAGE_INPUTS

    if unknown := [stage for stage in stages if stage not in STAGE_INPUTS]:
        raise CommandError(f"no stage is called {', '.join(unknown)}: they are {', '.join(STAGE_INPUTS)}")
    chosen = stages or tuple(STAGE_INPUTS)
    rows: list[PartitionLag] = []

    def measure() -> list[PartitionLag]:
        measured = client.lag(settings, chosen)
        for row in measured:
            out.json(asdict(row))
        return measured

    if watch is None:
        rows = measure()
        out.say(_table(rows))
    else:
        from rich.live import Live

        try:
            with Live(console=out.console, auto_refresh=False) as live:
                while True:
                    rows = measure()
                    live.update(_table(rows), refresh=True)
                    time.sleep(watch)
        except KeyboardInterrupt:
            pass  # the usual way to end
    waiting = sum(row.records for row in rows)
    if not rows:
        out.next_step("streamer topics create  (none of the stages' topics exist)")
    elif waiting:
        idle = {row.stage for row in rows} - {row.stage for row in rows if row.committed is not None}
        hint = f"  (never ran: {', '.join(sorted(idle))})" if idle else ""
        out.next_step(f"streamer worker {' '.join(sorted(idle))}{hint}" if idle else "streamer lag --watch 2")
    else:
        out.next_step("nothing waits: streamer subscribe shows what comes out")


def _table(rows: Sequence[PartitionLag]) -> Table:
    from rich.table import Table

    table = Table("stage", "topic", "partition", "committed", "end", "records behind", "oldest waits")
    for row in rows:
        age = "" if row.seconds is None else ("–" if not row.records else duration(row.seconds))
        style = "" if not row.records else "yellow"
        committed = "never" if row.committed is None else f"{row.committed:,}"
        table.add_row(
            row.stage,
            row.topic,
            str(row.partition),
            committed,
            f"{row.end:,}",
            f"{row.records:,}",
            age,
            style=style,
        )
    return table
