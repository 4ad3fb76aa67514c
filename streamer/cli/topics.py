"""`streamer topics`: create the topics, and show what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from streamer.cli.console import Output, json_option, settings_option

if TYPE_CHECKING:
    from streamer.settings import Settings


@click.group()
def topics() -> None:
    """Create and describe the topics."""


@topics.command()
@settings_option
@json_option
def create(settings: Settings, out: Output) -> None:
    """Create the topics that are missing; those that exist stay as they are.

    Their number of partitions is [cyan]kafka.partitions[/], also of those that exist; their replicas
    [cyan]kafka.replication_factor[/].

    Example: [green]STREAMER_KAFKA__PARTITIONS=16 streamer topics create[/]
    """
    from streamer.client import topics as client

    made = client.create(settings)
    out.json(
        {
            "created": [n for n, new in made.items() if new],
            "existing": [n for n, new in made.items() if not new],
        }
    )
    for name, new in made.items():
        out.say(f"{'[green]created[/]' if new else 'existed'}  {settings.kafka.topic(name)}")
    out.next_step("streamer worker  (needs a bundle: STREAMER_BUNDLE)")


@topics.command()
@settings_option
@json_option
def describe(settings: Settings, out: Output) -> None:
    """Show each topic's partitions and the offsets it holds.

    Example: [green]streamer topics describe --json | jq .records[/]
    """
    from rich.table import Table

    from streamer.client import topics as client

    states = client.describe(settings)
    table = Table("topic", "partitions", "records", "offsets by partition")
    for state in states:
        out.json(
            {
                "topic": state.name,
                "name": state.full_name,
                "records": state.records,
                "partitions": [
                    {"partition": p.partition, "start": p.start, "end": p.end} for p in state.partitions
                ],
            }
        )
        ranges = "  ".join(f"{p.start:,}–{p.end:,}" for p in state.partitions)
        table.add_row(
            state.full_name,
            str(len(state.partitions)) if ranges else "[red]missing[/]",
            f"{state.records:,}",
            ranges,
        )
    out.say(table)
    missing = not all(state.partitions for state in states)
    out.next_step("streamer topics create" if missing else "streamer publish FILE, then streamer subscribe")
