"""`streamer simulate`: a synthetic social network with known probabilities, as an event log."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import rich_click as click
from rich.markup import escape

from streamer.cli.console import CommandError, Output, json_option
from streamer.cli.durations import duration
from streamer.cli.folders import FolderToWrite


@click.command()
@click.option(
    "--out",
    "folder",
    type=FolderToWrite(),
    required=True,
    help="Folder to write.",
)
@click.option(
    "--size",
    type=click.Choice(("small", "demo", "big")),
    default="demo",
    show_default=True,
    help="Sizes to start from.",
)
@click.option("--users", type=click.IntRange(min=20), help="How many people.")
@click.option("--authors", type=click.IntRange(min=2), help="How many of them write tweets.")
@click.option(
    "--tweets", type=click.IntRange(min=10), help="How many tweets they write; retweets come on top."
)
@click.option("--days", type=click.FloatRange(0, 3_650, min_open=True), help="Time span.")
@click.option("--follows", type=click.FloatRange(min=1), help="Authors a user follows, on average.")
@click.option(
    "--shown",
    type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
    help="Share of the authors' tweets that a follower is shown, on average.",
)
@click.option(
    "--keep-rate",
    type=click.FloatRange(min=0, max=1, min_open=True),
    help="Share of the training exposures without any action that are kept.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Another seed, another world.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(("parquet", "jsonl")),
    default="parquet",
    show_default=True,
    help="Files.",
)
@click.option("--recsys", is_flag=True, help="Write RecSys Challenge 2020 files (24 columns) as well.")
@click.option("--overwrite", is_flag=True, help="Replace an event log that is there.")
@json_option
def simulate(
    folder: Path,
    size: str,
    file_format: str,
    recsys: bool,
    overwrite: bool,
    out: Output,
    **sizes: Any,
) -> None:
    """Write a seeded synthetic social network as an event log, and the truth about it beside.

    What people do is drawn from known probabilities ([cyan]truth.parquet[/]), so world.json can tell what the
    best possible model would score. The same seed gives the same world everywhere.

    How many exposures there are to learn from: about tweets * follows * users / authors * shown.

    Example: [green]streamer simulate --out world --users 2000 --seed 7[/]
    """
    from models.log import expect_no_log
    from models.progress import Phase
    from models.world import SIZES, simulate, write

    expect_no_log(folder, overwrite=overwrite)
    try:
        config = replace(SIZES[size], **{name: value for name, value in sizes.items() if value is not None})
    except ValueError as error:
        raise CommandError(str(error)) from None
    started = time.monotonic()
    with out.progress() as show:
        phase = Phase(show, "simulating", None, "tweets")
        world = simulate(config, lambda done, _total: phase.to(done))
        phase.end()
    summary = write(world, folder, file_format, recsys=recsys, overwrite=overwrite)  # type: ignore[arg-type]
    seconds = time.monotonic() - started
    out.json({"path": str(folder), **summary})
    out.say(
        f"[green]wrote[/] {escape(str(folder))}: {summary['users']:,} users, {summary['follows']:,} follows, "
        f"{summary['tweets']:,} tweets, {summary['exposures']:,} exposures in {duration(seconds)}"
    )
    best = summary["bayes"]["retweet"]["auc"]
    if best is not None:
        out.say(f"the best possible model has a retweet AUC of {best:.3f} on exposures_valid")
    out.next_step(f"streamer train {folder} --out bundle")
