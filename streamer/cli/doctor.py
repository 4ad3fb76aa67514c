"""`streamer doctor`: is everything there that a worker needs, and if not, what to do."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import rich_click as click
from rich.markup import escape

from streamer.cli.console import Output, json_option, settings_option

if TYPE_CHECKING:
    from streamer.settings import Settings

_MARKS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "broken": "[red]✗[/]"}


@click.command()
@settings_option
@json_option
def doctor(settings: Settings, out: Output) -> None:
    """Check Kafka, topics, Redis, bundle and device, and say how to mend what is broken.

    Exit status 1 when something is. With --json one object with all findings.

    Example: [green]streamer doctor --config ops/streamer.toml[/]
    """
    from streamer.cli.checks import CHECKS

    findings = []
    for check in CHECKS:
        for finding in check(settings):
            findings.append(finding)
            out.say(f"{_MARKS[finding.status]} [bold]{finding.what}[/]  {escape(finding.detail)}")
            if finding.mend:
                out.say(f"    mend: {escape(finding.mend)}")
    broken = [finding.what for finding in findings if finding.status == "broken"]
    out.json({"ok": not broken, "findings": [asdict(finding) for finding in findings]})
    if broken:
        out.next_step(f"mend {', '.join(broken)}, in this order; then streamer doctor again")
        raise SystemExit(1)
    out.next_step("streamer worker")
