"""`streamer train` and `streamer evaluate`: from an event log to a bundle, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from streamer.cli.console import Output, json_option
from streamer.cli.durations import duration

if TYPE_CHECKING:
    from rich.table import Table

    from models.metrics import Scores
    from models.recipe import Recipe


def recipe_of(
    file: Path | None, encoder: str | None, epochs: int | None, batch: int | None, seed: int | None
) -> Recipe:
    """The recipe in `file`, or the default one, with these choices changed. Raises `RecipeError`."""
    from msgspec.structs import replace

    from models.recipe import Bag, Recipe, TextConfig, Transformer

    recipe = Recipe() if file is None else Recipe.load(file)
    if encoder is not None:
        text: TextConfig = (
            Bag() if encoder == "bag" else Transformer(source="" if encoder == "bert" else encoder)
        )
        recipe = replace(recipe, model=replace(recipe.model, text=text))
    changes = {"epochs": epochs, "batch": batch, "seed": seed}
    changes = {name: value for name, value in changes.items() if value is not None}
    return replace(recipe, training=replace(recipe.training, **changes))


@click.command()
@click.argument("log", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--out",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for the bundle.",
)
@click.option(
    "--exposures",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Train on this file, not on the log's exposures_train.",
)
@click.option(
    "--recipe",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Every choice, as TOML; the others go before it.",
)
@click.option(
    "--encoder",
    metavar="NAME",
    help="Of texts: bert (small, from scratch), bag, or a Hugging Face folder or id.",
)
@click.option("--epochs", type=click.IntRange(min=1), help="Most passes over the exposures.")
@click.option("--batch", type=click.IntRange(min=1), help="Exposures in a step.")
@click.option("--seed", type=click.IntRange(min=0), help="Of initialisation and order.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@json_option
def train(
    log: Path,
    folder: Path,
    exposures: Path | None,
    recipe: Path | None,
    encoder: str | None,
    epochs: int | None,
    batch: int | None,
    seed: int | None,
    device: str,
    out: Output,
) -> None:
    """Train on the event log LOG and write a bundle: everything a worker needs, in one folder.

    The log is replayed first, so that each exposure sees what was known when it happened, through the same
    functions as the stream. A head (retweet, like, reply, quote) without labels is left out.

    Example: [green]streamer train world --out bundle --encoder bag --epochs 5[/]
    """
    from models.train import train as train_bundle

    chosen = recipe_of(recipe, encoder, epochs, batch, seed)
    with out.progress() as show:
        result = train_bundle(log, folder, chosen, show, exposures=exposures, device=device)
    held_out = {head: figures.plain() for head, figures in result.held_out.items()}
    out.json(
        {
            "bundle": str(result.bundle),
            "fingerprint": result.fingerprint,
            "heads": result.heads,
            "epochs": result.epochs,
            "seconds": round(result.seconds, 1),
            "held_out": held_out,
            "skipped": result.skipped,
        }
    )
    for reason, count in result.skipped.items():
        out.warn(f"{count:,} exposures left out: {reason}")
    out.say(
        f"[green]trained[/] {folder} ({result.fingerprint}) in {duration(result.seconds)}, "
        f"best after {result.epochs} epochs"
    )
    for head, figures in result.held_out.items():
        out.say(
            f"  {head}: AUC {figures.auc:.4f}, RCE {figures.rce:.2f}, ECE {figures.ece:.5f} "
            "on the held-out last part"
        )
    out.next_step(f"streamer evaluate {folder} {log}, or STREAMER_BUNDLE={folder} streamer worker")


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, file_okay=False))
@click.argument("log", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--exposures",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Judge on this file, not on the log's exposures_valid.",
)
@click.option(
    "--report", type=click.Path(path_type=Path, file_okay=False), help="Folder for plots and figures."
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@json_option
def evaluate(
    bundle: Path, log: Path, exposures: Path | None, report: Path | None, device: str, out: Output
) -> None:
    """Judge BUNDLE on exposures of the event log LOG, through the code that also serves.

    Each exposure is scored with what was known when it happened, whatever came later.

    Example: [green]streamer evaluate bundle world --report report[/]
    """
    from models.evaluate import evaluate as judge

    with out.progress() as show:
        metrics = judge(bundle, log, exposures, report, show, device)
    for reason, count in metrics.skipped.items():
        out.warn(f"{count:,} exposures left out: {reason}")
    out.json(
        {
            **metrics.retweet.plain(),
            "heads": {head: figures.plain() for head, figures in metrics.heads.items()},
            "quintiles": [figures.plain() for figures in metrics.quintiles],
            "cold": None if metrics.cold is None else metrics.cold.plain(),
            "skipped": metrics.skipped,
            "model": metrics.model,
        }
    )
    rows = dict(metrics.heads)
    rows |= {f"retweet {i}/5": row for i, row in enumerate(metrics.quintiles, 1)}
    if metrics.cold is not None:
        rows["retweet cold"] = metrics.cold
    out.say(scores_table(rows))
    where = f"; plots are in {report}" if report is not None else ""
    out.say(f"model {metrics.model}{where}")
    out.next_step(f"STREAMER_BUNDLE={bundle} streamer worker, or streamer replay {log} --bundle {bundle}")


def scores_table(rows: Mapping[str, Scores]) -> Table:
    """Figures as a table, a row each. `i/5` are fifths by the author's followers."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table("", *("shown", "acted", "AUC", "AP", "RCE", "NRCE", "ECE"), box=SIMPLE, pad_edge=False)
    for column in table.columns:
        column.no_wrap = True
        column.justify = "right" if column.header else "left"
    for name, row in rows.items():
        figures = (row.auc, row.average_precision, row.rce, row.nrce, row.ece)
        digits = (4, 4, 2, 4, 5)
        shown = [f"{x:.{d}f}" if x == x else "–" for x, d in zip(figures, digits, strict=True)]
        table.add_row(name, f"{row.exposures:,}", f"{row.positives:,}", *shown)
    return table
