"""How near the default recipe comes to the best possible model, and with how many exposures.

A simulated world's probabilities are known, so the best figures that any model could have on the validation
exposures are known as well. The log is simulated and replayed once; every point learns from the latest part
of the training exposures, with histories that hold all events before, and is judged on all validation
exposures by the code that serves.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.options import Options
from benchmarks.result import RESULTS, Result
from models.dataset import Dataset
from models.evaluate import evaluate_dataset, labelled, validation_exposures
from models.log import EventLog
from models.metrics import scores
from models.progress import Step
from models.recipe import Recipe
from models.replay import replayed
from models.serving import ServingModel
from models.train import fit, training_exposures
from models.world import WorldConfig, simulate, write

#: 1.4M exposures to learn from, 0.37M to be judged on, of people who are each shown about 1,000.
_WORLD: Final = WorldConfig(users=1_500, tweets=18_000, follows=30.0)
_TWEETS: Final = 300
#: Every point learns from one in so many of the exposures, the latest.
_PARTS: Final = (16, 8, 4, 2, 1)
_RCE, _AUC, _ECE = 95.0, 0.01, 0.01


class Point(NamedTuple):
    """Retweets of the validation exposures, after learning from `exposures`; the best possible has part 0."""

    part: int
    exposures: int
    rce: float
    auc: float
    ece: float


def run(options: Options) -> list[Result]:
    """See the module; the plot is kept beside the results."""
    with tempfile.TemporaryDirectory(prefix="learning-curve-") as name:
        folder = Path(name)
        best, train, valid = _world(replace(_WORLD, tweets=options.sized(_WORLD.tweets, _TWEETS)), folder)
        options.say(f"best possible: RCE {best.rce:.2f}, AUC {best.auc:.4f}")
        points = []
        for part in _PARTS:
            started = time.monotonic()
            point = learned(part, train, valid, folder / f"part-{part}", options)
            points.append(point)
            options.say(
                f"{point.exposures:,} exposures: RCE {point.rce:.2f} ({100 * point.rce / best.rce:.1f} %), "
                f"AUC {point.auc:.4f} ({point.auc - best.auc:+.4f}), ECE {point.ece:.4f}, "
                f"{time.monotonic() - started:.0f} s"
            )
    if options.scale == 1:
        plot(points, best, RESULTS / "learning_curve.svg")
    return results(points, best)


def _world(config: WorldConfig, folder: Path) -> tuple[Point, Dataset, Dataset]:
    """What the best possible model scores; exposures to learn from, and to be judged on."""
    bayes = write(simulate(config), folder / "log")["bayes"]["retweet"]
    events = EventLog(folder / "log")
    train = replayed(events, training_exposures(events), folder / "train")
    valid = replayed(events, validation_exposures(events), folder / "valid")
    return Point(0, 0, bayes["rce"], bayes["auc"], 0.0), train, valid


def learned(part: int, train: Dataset, valid: Dataset, folder: Path, options: Options) -> Point:
    """The default recipe on the latest of `part` equal parts of the training exposures."""
    folder.mkdir()
    count = len(train.exposures) // part

    def say(step: Step) -> None:
        if step.values:
            values = ", ".join(f"{name} {value:.5f}" for name, value in step.values.items())
            options.say(f"  1/{part} {step.phase}: {values}, {step.seconds:.0f} s")

    bundle, _, _ = fit(train.latest(count), Recipe(), folder, say, folder / "vectors")
    model = ServingModel(bundle)
    found = scores(*labelled(valid, evaluate_dataset(model, valid), "retweet", model.heads))
    return Point(part, count, found.rce, found.auc, found.ece)


def results(points: Sequence[Point], best: Point) -> list[Result]:
    """Each point beside the best possible; the targets are for all exposures."""
    found = []
    for part, exposures, rce, auc, ece in points:
        of = "all exposures" if part == 1 else f"1/{part} of the exposures"
        targets = (_RCE, _AUC, _ECE) if part == 1 else (None, None, None)
        peer = "best possible"
        found += [
            Result(name=f"learned from {of}", value=exposures, unit="exposures"),
            Result(name=f"RCE, {of}", value=100 * rce / best.rce, unit="%", target=targets[0], peer=peer),
            Result(
                name=f"AUC short, {of}",
                value=best.auc - auc,
                unit="AUC",
                target=targets[1],
                higher_is_better=False,
                peer=peer,
            ),
            Result(name=f"ECE, {of}", value=ece, unit="ECE", target=targets[2], higher_is_better=False),
        ]
    return found


def plot(points: Sequence[Point], best: Point, file: Path) -> None:
    """RCE, AUC and ECE over exposures, with the best possible and the targets, as SVG."""
    style = {"svg.hashsalt": "learning-curve", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3}
    with mpl.rc_context(style):
        figure = Figure(figsize=(10, 3.2), layout="constrained")
        at = [point.exposures for point in points]
        panels = (
            ("RCE, % of the best possible", [100 * p.rce / best.rce for p in points], 100.0, _RCE),
            ("AUC", [p.auc for p in points], best.auc, best.auc - _AUC),
            ("ECE", [p.ece for p in points], None, _ECE),
        )
        for axes, (title, values, top, target) in zip(figure.subplots(1, 3), panels, strict=True):
            axes.plot(at, values, marker="o")
            axes.axhline(target, linestyle="--", color="tab:green", label="target")
            if top is not None:
                axes.axhline(top, color="0.3", label="best possible")
            axes.set(xscale="log", xlabel="exposures learned from", title=title)
            axes.legend()
        figure.savefig(file, metadata={"Date": None})
