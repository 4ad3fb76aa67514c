"""`streamer worker`: run stages until told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from streamer.cli.console import settings_option

if TYPE_CHECKING:
    from streamer.settings import Settings


@click.command()
@click.argument("stages", nargs=-1, metavar="[STAGE]...")
@click.option(
    "--bundle", type=click.Path(path_type=Path), help="Folder of the trained bundle (setting: bundle)."
)
@click.option("--device", help="auto, cpu, cuda or cuda:N (setting: device).")
@click.option(
    "--port", type=click.IntRange(0, 65_535), help="Port of /metrics, /healthz, /readyz (setting: http.port)."
)
@settings_option
def worker(
    stages: tuple[str, ...], bundle: Path | None, device: str | None, port: int | None, settings: Settings
) -> None:
    """Run STAGES (embed, score, users, follows; all when none is named) until SIGTERM or Ctrl-C.

    Any number of workers share the partitions between them. Exit status: 0 when stopped, 1 when something
    failed (a restart resumes where the last commit was), 70 when the watchdog ended it.

    Example: [green]streamer worker embed --bundle bundle --device cuda[/]
    """
    from streamer.worker import run

    values: dict[str, object] = {}
    if stages:
        values["stages"] = stages
    if bundle is not None:
        values["bundle"] = bundle
    if device is not None:
        values["device"] = device
    if port is not None:
        values["http"] = settings.http.model_copy(update={"port": port})
    raise SystemExit(run(settings.model_copy(update=values)))
