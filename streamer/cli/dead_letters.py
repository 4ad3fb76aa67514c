"""`streamer dead-letters`: what could not be handled, and sending it again."""

from __future__ import annotations

import base64
from collections import Counter
from typing import TYPE_CHECKING

import rich_click as click
from rich.markup import escape

from streamer.cli.console import CommandError, Output, json_option, settings_option

if TYPE_CHECKING:
    from streamer.client.dead_letters import Filter
    from streamer.settings import Settings

_reasons = click.option("--reason", "reasons", multiple=True, help="Only these reasons; may be given again.")
_topics = click.option("--topic", "topics", multiple=True, help="Only from these topics; may be given again.")


@click.group("dead-letters")
def dead_letters() -> None:
    """List and replay what could not be handled."""


def _filter(reasons: tuple[str, ...], topics: tuple[str, ...]) -> Filter:
    from streamer.client.dead_letters import Filter
    from streamer.client.topics import TOPICS
    from streamer.decoding import Reason

    if unknown := [reason for reason in reasons if reason not in list(Reason)]:
        raise CommandError(f"no reason is called {', '.join(unknown)}: they are {', '.join(Reason)}")
    if unknown := [topic for topic in topics if topic not in TOPICS]:
        raise CommandError(f"no topic is called {', '.join(unknown)}: they are {', '.join(TOPICS)}")
    return Filter(frozenset(reasons), frozenset(topics))


@dead_letters.command("list")
@_reasons
@_topics
@click.option("--all", "replayed_too", is_flag=True, help="Also those that were replayed.")
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Show so many at most."
)
@settings_option
@json_option
def list_(
    reasons: tuple[str, ...],
    topics: tuple[str, ...],
    replayed_too: bool,
    limit: int,
    settings: Settings,
    out: Output,
) -> None:
    """List dead letters: reason, where the record came from, how often it failed, how it begins.

    With --json one object each, its value in base64; [cyan]truncated[/] is how many bytes there were of a
    record that was too large to be kept here whole.

    Example: [green]streamer dead-letters list --reason not_json --topic tweets[/]
    """
    from rich.table import Table
    from rich.text import Text

    from streamer.client.dead_letters import list_letters

    table = Table("reason", "error", "topic/partition@offset", "attempts", "key", "value")
    counts: Counter[str] = Counter()
    for letter in list_letters(settings, _filter(reasons, topics), replayed_too=replayed_too):
        counts[letter.reason] += 1
        if counts.total() > limit:
            continue
        out.json(
            {
                "reason": letter.reason,
                "error": letter.error,
                "topic": letter.topic,
                "partition": letter.partition,
                "offset": letter.offset,
                "attempts": letter.attempts,
                "truncated": letter.truncated,
                "at": letter.at,
                "replayed": letter.replayed,
                "key": None if letter.key is None else base64.b64encode(letter.key).decode(),
                "value": None if letter.value is None else base64.b64encode(letter.value).decode(),
            }
        )
        key = "" if letter.key is None else letter.key.decode("utf-8", "backslashreplace")
        table.add_row(
            escape(letter.reason) + (" [dim](replayed)[/]" if letter.replayed else ""),
            Text(letter.error[:200]),
            Text(f"{letter.topic}/{letter.partition}@{letter.offset}"),
            str(letter.attempts),
            Text(key[:40]),
            Text(letter.preview()),
        )
    if not counts:
        out.say("no dead letters" + ("" if replayed_too else " that were not replayed"))
        return
    out.say(table)
    summary = _by_reason(counts)
    shown = f" (the first {limit:,} are shown)" if counts.total() > limit else ""
    out.say(f"{counts.total():,} dead letters: {summary}{shown}")
    out.next_step("mend the cause, then streamer dead-letters replay --reason REASON")


@dead_letters.command()
@_reasons
@_topics
@click.option(
    "--max-attempts",
    type=click.IntRange(min=1),
    default=5,
    show_default=True,
    help="Leave alone what failed so many times.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Replay so many at most.")
@settings_option
@json_option
def replay(
    reasons: tuple[str, ...],
    topics: tuple[str, ...],
    max_attempts: int,
    limit: int | None,
    settings: Settings,
    out: Output,
) -> None:
    """Publish the originals again: same bytes, same key, same topic, one more in header [cyan]attempts[/].

    Each is replayed once: what was is remembered in Kafka, whatever the filters. One replay at a time.

    Example: [green]streamer dead-letters replay --reason unknown_tweet[/]
    """
    from streamer.client import dead_letters as client

    outcome = client.replay(settings, _filter(reasons, topics), max_attempts=max_attempts, limit=limit)
    out.json({"replayed": outcome.replayed, "exhausted": outcome.exhausted, "impossible": outcome.impossible})

    def told(counts: Counter[str]) -> str:
        return f"{counts.total():,}" + (f" ({_by_reason(counts)})" if counts else "")

    out.say(f"[green]replayed[/] {told(outcome.replayed)}")
    if outcome.exhausted:
        out.say(f"left, since they failed {max_attempts} times or more: {told(outcome.exhausted)}")
    if outcome.impossible:
        why = "they are cut off, name no topic to go back to, or are refused by it"
        out.say(f"left, since {why}: {told(outcome.impossible)}")
    out.next_step("streamer dead-letters list  (what comes back has one more attempt)")


def _by_reason(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {escape(reason)}" for reason, count in counts.most_common())
