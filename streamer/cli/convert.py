"""`streamer convert`: from RecSys Challenge files to an event log, once."""

from __future__ import annotations

import time
from pathlib import Path

import rich_click as click
from rich.markup import escape

from streamer.cli.console import Output, json_option
from streamer.cli.durations import duration
from streamer.cli.folders import FolderToWrite

#: Unreadable rows that are shown for each file; more are only counted.
_SHOWN = 5


@click.command()
@click.argument("train", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--valid",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Another file, whose rows become exposures_valid.",
)
@click.option(
    "--out",
    "folder",
    type=FolderToWrite(),
    required=True,
    help="Folder for the event log.",
)
@click.option("--strict", is_flag=True, help="Stop at the first row that can't be read.")
@click.option("--overwrite", is_flag=True, help="Replace an event log that is there.")
@json_option
def convert(
    train: Path, valid: Path | None, folder: Path, strict: bool, overwrite: bool, out: Output
) -> None:
    """Turn RecSys Challenge 2020 or 2021 files (TSV, also .gz, .bz2, .zst) into an event log.

    Rows that can't be read are counted, the first ones with their line and what is wrong; the rest goes on.

    Example: [green]streamer convert train.tsv --valid val.tsv --out log[/]
    """
    from models.progress import Phase
    from models.recsys_convert import convert as convert_files

    files = {"train": train} | ({} if valid is None else {"valid": valid})
    started = time.monotonic()
    with out.progress() as show:
        phases: list[Phase] = []

        def read(done: int, total: int) -> None:
            if not phases or done < phases[-1].done:
                phases.append(Phase(show, f"read {list(files.values())[len(phases)]}", total, "bytes"))
            phases[-1].to(done)

        report = convert_files(files, folder, strict=strict, overwrite=overwrite, progress=read)
    seconds = time.monotonic() - started
    out.json(
        {
            "path": str(folder),
            "written": report.written,
            "read": {
                path: {"rows": one.rows, "unreadable": one.unreadable, "problems": one.problems}
                for path, one in report.read.items()
            },
        }
    )
    for path, one in report.read.items():
        if one.unreadable:
            out.warn(f"{path}: {one.unreadable:,} rows left out, such as {'; '.join(one.problems[:_SHOWN])}")
    rows = sum(one.rows for one in report.read.values())
    tables = ", ".join(f"{count:,} {name}" for name, count in report.written.items())
    out.say(f"[green]wrote[/] {escape(str(folder))} from {rows:,} rows in {duration(seconds)}: {tables}")
    out.next_step(
        'name the vocabulary of the ids in a recipe ([model] source_vocabulary = "vocab.txt"), then '
        f"streamer train {folder} --out bundle --recipe RECIPE"
    )
