"""`streamer train` and `streamer evaluate`: from an event log to a bundle, and how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import rich_click as click
from rich.markup import escape

from streamer.cli.console import Output, json_option
from streamer.cli.durations import duration
from streamer.cli.folders import FolderToWrite

if TYPE_CHECKING:
    from rich.table import Table

    from models.metrics import Scores
    from models.recipe import Recipe


_STEPS = {"logistic": "iteration", "forest": "tree", "boosted": "tree"}
_UNKNOWN = "it can't be told, as not both retweeted and not retweeted exposures are there"


def recipe_of(
    file: Path | None, encoder: str | None, epochs: int | None, batch: int | None, seed: int | None
) -> Recipe:
    """The recipe in `file`, or the default one, with these choices changed. Raises `RecipeError`."""
    from msgspec.structs import replace

    from models.recipe import Bag, Cnn, Lstm, Recipe, TextConfig, Transformer

    recipe = Recipe() if file is None else Recipe.load(file)
    if encoder is not None:
        own: dict[str, TextConfig] = {"bag": Bag(), "lstm": Lstm(), "cnn": Cnn(), "bert": Transformer()}
        text = own.get(encoder) or Transformer(source=encoder)
        recipe = replace(recipe, model=replace(recipe.model, text=text))
    changes = {"epochs": epochs, "batch": batch, "seed": seed}
    changes = {name: value for name, value in changes.items() if value is not None}
    return replace(recipe, training=replace(recipe.training, **changes))


@click.command()
@click.argument("log", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--out",
    "folder",
    type=FolderToWrite(),
    required=True,
    help="Folder for the bundle.",
)
@click.option(
    "--exposures",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Train on this file, not on the log's exposures_train.",
)
@click.option(
    "--model",
    "kind",
    type=click.Choice(("network", "tweet-only", "logistic", "forest", "boosted")),
    default="network",
    show_default=True,
    help="The network, or a baseline to compare it with: forest and boosted need the extra peers.",
)
@click.option(
    "--recipe",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Every choice, as TOML; the others go before it.",
)
@click.option(
    "--encoder",
    metavar="NAME",
    help="Of texts: bag, lstm, cnn, bert (small, from scratch), or a Hugging Face folder or id.",
)
@click.option("--epochs", type=click.IntRange(1, 65_536), help="Most passes over the exposures.")
@click.option("--batch", type=click.IntRange(1, 65_536), help="Exposures in a step.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Of initialisation and order.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--resume", is_flag=True, help="Go on with a training into the same folder that was cut off.")
@click.option(
    "--logs",
    type=FolderToWrite(),
    help="Folder for TensorBoard's curves.  [default: OUT/logs]",
)
@json_option
def train(
    log: Path,
    folder: Path,
    exposures: Path | None,
    kind: Literal["network", "tweet-only", "logistic", "forest", "boosted"],
    recipe: Path | None,
    encoder: str | None,
    epochs: int | None,
    batch: int | None,
    seed: int | None,
    device: str,
    resume: bool,
    logs: Path | None,
    out: Output,
) -> None:
    """Train on the event log LOG and write a bundle: everything a worker needs, in one folder.

    The log is replayed first, so that each exposure sees what was known when it happened, through the same
    functions as the stream. A head (retweet, like, reply, quote) without labels is left out.

    On several GPUs: [cyan]torchrun --nproc-per-node gpu -m streamer.cli train ...[/], or accelerate launch. A
    training that was cut off goes on with --resume as if nothing had happened.

    A baseline (--model) learns retweets from the same exposures; of the recipe it takes the seed, the
    held-out share, the calibration and the threads. tweet-only is a network that sees nothing but the text:
    a small BERT, or what --encoder or the recipe names. `streamer evaluate --compare` sets them beside a
    bundle.

    Example: [green]streamer train world --out bundle --encoder bag --epochs 5[/]
    """
    if kind in _STEPS:
        choices = {"encoder": encoder, "epochs": epochs, "batch": batch, "resume": resume, "logs": logs}
        if meant := [f"--{name}" for name, value in choices.items() if value]:
            raise click.UsageError(f"{', '.join(meant)}: of a network, and --model {kind} is none")
    if kind == "tweet-only" and recipe is None:
        encoder = encoder or "bert"
    chosen = recipe_of(recipe, encoder, epochs, batch, seed)
    with out.progress() as show:
        if kind == "network" or kind == "tweet-only":
            from models.baselines.tweet_only import tweet_only
            from models.train import train as train_bundle

            try:
                result = train_bundle(
                    log,
                    folder,
                    chosen if kind == "network" else tweet_only(chosen),
                    show,
                    exposures=exposures,
                    device=device,
                    resume=resume,
                    logs=logs,
                )
            except KeyboardInterrupt:
                out.warn(f"stopped: the same command with --resume goes on with what is in {folder}")
                raise
        else:
            from models.baselines.train import train_baseline

            result = train_baseline(log, folder, kind, show, exposures=exposures, training=chosen.training)
    if not result.first:
        return
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
            "rejected": result.rejected,
            "warnings": result.warnings,
        }
    )
    for line in result.warnings:
        out.warn(line)
    out.say(
        f"[green]trained[/] {escape(str(folder))} ({result.fingerprint}) in {duration(result.seconds)}, "
        f"best after {result.epochs} {_STEPS.get(kind, 'epoch')}{'s' * (result.epochs != 1)}"
    )
    for head, figures in result.held_out.items():
        auc, rce = (
            "–" if x != x else f"{x:.{d}f}" for x, d in ((figures.auc, 4), (figures.rce, 2))
        )  # of one class
        out.say(f"  {head}: AUC {auc}, RCE {rce}, ECE {figures.ece:.5f} on the held-out last part")
    out.next_step(
        f"streamer evaluate {folder} {log}, or STREAMER_BUNDLE={folder} streamer worker"
        if kind == "network"
        else f"streamer evaluate BUNDLE {log} --compare {folder}"
    )


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, file_okay=False))
@click.argument("log", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--exposures",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Judge on this file, not on the log's exposures_valid.",
)
@click.option(
    "--report",
    type=FolderToWrite(),
    help="Folder for report.html, one page of plots and tables.",
)
@click.option(
    "--compare",
    type=click.Path(path_type=Path, file_okay=False),
    multiple=True,
    metavar="BUNDLE",
    help="Another bundle or baseline, judged beside it; may be repeated.",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@json_option
def evaluate(
    bundle: Path,
    log: Path,
    exposures: Path | None,
    report: Path | None,
    compare: tuple[Path, ...],
    device: str,
    out: Output,
) -> None:
    """Judge BUNDLE on exposures of the event log LOG, through the code that also serves.

    Each exposure is scored with what was known when it happened, whatever came later. Intervals are 95 %,
    by a bootstrap of whole tweets.

    Example: [green]streamer evaluate bundle world --report report[/]
    """
    from models.evaluate import evaluate as judge

    with out.progress() as show:
        metrics = judge(bundle, log, exposures, report, show, device, compare=compare)
    for line in metrics.warnings:
        out.warn(line)
    out.json(metrics.plain())
    rows = dict(metrics.heads)
    rows |= {f"{each.group} {each.name.partition(':')[0]}": each.scores for each in metrics.segments}
    out.say(scores_table(rows))
    found = [
        f"{title} {low:.{digits}f} to {high:.{digits}f}"
        for title, name, digits in (("AUC", "auc", 4), ("AP", "average_precision", 4), ("RCE", "rce", 2))
        if (interval := metrics.intervals.get(name))
        for low, high in (interval,)
    ]
    if found:
        out.say(f"retweet, 95 % intervals: {', '.join(found)}")
    if metrics.compared:
        beside = {other.name: other.retweet for other in metrics.compared}
        out.say(scores_table({"this one": metrics.retweet, **beside}))
        for other in metrics.compared:
            interval = other.difference.get("rce")
            difference = f"{interval[0]:+.2f} to {interval[1]:+.2f}" if interval else _UNKNOWN
            out.say(f"RCE above that of {escape(other.name)}: {difference}")
    where = f"; the page is {escape(str(report / 'report.html'))}" if report is not None else ""
    out.say(f"model {metrics.model}{where}")
    out.next_step(
        f"streamer evaluate BUNDLE {log} --compare {bundle}"
        if metrics.baseline
        else f"STREAMER_BUNDLE={bundle} streamer worker, or streamer replay {log} --bundle {bundle}"
    )


def scores_table(rows: Mapping[str, Scores]) -> Table:
    """Figures as a table, a row each."""
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
        table.add_row(escape(name), f"{row.exposures:,}", f"{row.positives:,}", *shown)
    return table
