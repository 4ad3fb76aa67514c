"""`streamer schemas`: JSON Schemas and the AsyncAPI description of the topics, written or checked."""

from __future__ import annotations

from pathlib import Path

import rich_click as click
from rich.markup import escape

from streamer.cli.console import CommandError, Output, json_option


@click.command()
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),  # `--check` writes nothing
    default=Path("ops"),
    show_default=True,
    help="Folder of asyncapi.yaml and schemas/.",
)
@click.option("--check", is_flag=True, help="Write nothing; fail when a file there is out of date.")
@json_option
def schemas(folder: Path, check: bool, out: Output) -> None:
    """Write JSON Schemas and an AsyncAPI 3 description of the topics, made from the contracts.

    Example: [green]streamer schemas --check[/]
    """
    from streamer import schemas as generator

    if check:
        drifted = generator.drifted(folder)
        out.json({"drifted": drifted})
        if drifted:
            raise CommandError(
                f"{', '.join(drifted)} in {folder} differ from the contracts: "
                f"run `streamer schemas --out {folder}`"
            )
        out.say(f"[green]up to date[/] {escape(str(folder))}")
        return
    written = generator.write(folder)
    out.json({"written": [str(path) for path in written]})
    out.say(f"[green]wrote[/] {escape(', '.join(map(str, written)))}")
    out.next_step("commit them; `streamer schemas --check` fails when they drift")
