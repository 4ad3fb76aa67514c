"""The default recipe beside boosted trees and logistic regression on logs of other shapes, made of one log.

    python -m benchmarks.shapes LOG --out FOLDER

Each shape is a log like any other: trained on and judged as by `streamer train` and `streamer evaluate`. What
is done stays in FOLDER: a second call goes on with the rest. FOLDER then has `shapes.json` and `shapes.md`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from benchmarks.ablations import Watch
from benchmarks.reshaped import Shape, Tables, shapes
from models.baselines.train import train_baseline
from models.bootstrap import Interval
from models.evaluate import evaluate
from models.log import EventLog, LogError
from models.metrics import Scores
from models.recipe import Recipe
from models.train import train

_PEERS: Final[tuple[Literal["boosted", "logistic"], ...]] = ("boosted", "logistic")


class Outcome(msgspec.Struct, kw_only=True):
    """Retweets of the validation exposures: ours, the peers', and 95 % intervals of our RCE less theirs."""

    name: str
    what: str
    training_exposures: int
    ours: Scores
    peers: dict[str, Scores]
    rce_difference: dict[str, Interval]
    seconds: float


def main() -> int:
    """Run what is asked for; the exit status."""
    options = _arguments()
    known = shapes(options.vocabulary)
    names = options.only or list(known)
    if unknown := [name for name in names if name not in known]:
        print(f"no shape {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    try:
        tables = Tables.read(options.log)
        for name in names:
            if not (out / f"{name}.json").exists():
                outcome = _measure(name, known[name], tables, out / name, options.vocabulary)
                (out / f"{name}.json").write_bytes(msgspec.json.encode(outcome))
    except LogError as error:
        print(error, file=sys.stderr)
        return 1
    files = [out / f"{name}.json" for name in known]
    found = [msgspec.json.decode(file.read_bytes(), type=Outcome) for file in files if file.exists()]
    (out / "shapes.json").write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    (out / "shapes.md").write_text(table(found) + "\n", encoding="utf-8")
    print(table(found))
    return 0


def _measure(name: str, shape: Shape, tables: Tables, folder: Path, vocabulary: Path | None) -> Outcome:
    """Make the log, train on it, judge; the log and what was trained are removed."""
    log, ours, watch = folder / "log", folder / "ours", Watch(name)
    shape.of(tables).write(log)
    start = time.monotonic()
    recipe = Recipe()
    if shape.vocabulary:
        recipe = replace(recipe, model=replace(recipe.model, source_vocabulary=str(vocabulary)))
    train(log, ours, recipe, watch)
    seconds = time.monotonic() - start
    for peer in _PEERS:
        train_baseline(log, folder / peer, peer, watch, training=recipe.training)
    metrics = evaluate(ours, log, progress=watch, compare=[folder / peer for peer in _PEERS])
    outcome = Outcome(
        name=name,
        what=shape.what,
        training_exposures=EventLog(log).exposures["train"].rows,
        ours=metrics.retweet,
        peers={other.name: other.retweet for other in metrics.compared},
        rce_difference={other.name: other.difference["rce"] for other in metrics.compared},
        seconds=seconds,
    )
    shutil.rmtree(folder)
    return outcome


def table(found: list[Outcome]) -> str:
    """A Markdown table, a row a shape."""
    peers = "".join(f" {peer} | ours less {peer} |" for peer in _PEERS)
    lines = [
        f"| log | training exposures | validation exposures | default recipe | ECE |{peers}",
        "|---|---|---|---|---|" + "---|---|" * len(_PEERS),
    ]
    for each in found:
        beside = "".join(
            f" {_figures(each.peers[peer])} | {{:+.1f}} to {{:+.1f}} |".format(*each.rce_difference[peer])
            for peer in _PEERS
        )
        lines.append(
            f"| {each.what} | {each.training_exposures:,} | {each.ours.exposures:,} "
            f"| {_figures(each.ours)} | {each.ours.ece:.4f} |{beside}"
        )
    return "\n".join(lines)


def _figures(scores: Scores) -> str:
    return f"{scores.rce:.1f} ({scores.average_precision:.3f})"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "benchmarks.shapes",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Train on logs of other shapes made of an event log, beside two peers.",
        epilog="shapes:\n"
        + "\n".join(f"  {name:10}  {shape.what}" for name, shape in shapes(Path("VOCABULARY")).items())
        + "\n\nexample:\n  python -m benchmarks.shapes LOG --out shapes --only thin tiny",
    )
    parser.add_argument("log", type=Path, help="event log with exposures_train and exposures_valid")
    parser.add_argument("--out", type=Path, required=True, help="folder for results; what is there is kept")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these shapes")
    parser.add_argument("--vocabulary", type=Path, help="WordPiece vocabulary file: also the shape ids")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
