"""Plots of an evaluation: ROC, precision-recall, reliability. Knows only labels and probabilities."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import msgspec
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from models.metrics import Scores, reliability

#: Points of a curve that are drawn: more can't be seen.
_POINTS = 2_000


def write_report(
    folder: Path,
    figures: Scores,
    labels: NDArray[np.bool_],
    p: NDArray[np.float32],
    weights: NDArray[np.float64] | None = None,
) -> list[Path]:
    """Write `roc.png`, `precision_recall.png`, `reliability.png` and `metrics.json`; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures.plain()), indent=2))
    written = [folder / "metrics.json"]
    if not labels.any() or labels.all():
        return written  # there is no curve of one class
    for name, draw in {
        "roc": _roc,
        "precision_recall": _precision_recall,
        "reliability": _reliability,
    }.items():
        with mpl.rc_context({"font.size": 10, "axes.grid": True, "grid.alpha": 0.3}):
            figure = Figure(figsize=(5, 5), dpi=120, layout="constrained")
            draw(figure.add_subplot(), figures, labels, p, weights)
            figure.savefig(folder / f"{name}.png")
        written.append(folder / f"{name}.png")
    return written


def _roc(
    axes: Axes,
    figures: Scores,
    labels: NDArray[np.bool_],
    p: NDArray[np.float32],
    weights: NDArray[np.float64] | None,
) -> None:
    false, true, _ = roc_curve(labels, p, sample_weight=weights)
    step = max(len(false) // _POINTS, 1)
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.plot(false[::step], true[::step])
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title=f"ROC, AUC {figures.auc:.4f}")


def _precision_recall(
    axes: Axes,
    figures: Scores,
    labels: NDArray[np.bool_],
    p: NDArray[np.float32],
    weights: NDArray[np.float64] | None,
) -> None:
    precision, recall, _ = precision_recall_curve(labels, p, sample_weight=weights)
    step = max(len(recall) // _POINTS, 1)
    axes.axhline(float(np.average(labels, weights=weights)), color="0.7", linewidth=1)
    axes.plot(recall[::step], precision[::step])
    title = f"precision and recall, average precision {figures.average_precision:.4f}"
    axes.set(xlabel="recall", ylabel="precision", title=title, xlim=(0, 1), ylim=(0, 1.02))


def _reliability(
    axes: Axes,
    figures: Scores,
    labels: NDArray[np.bool_],
    p: NDArray[np.float32],
    weights: NDArray[np.float64] | None,
) -> None:
    predicted, observed, _ = reliability(labels, p, weights)
    floor = max(min(predicted.min(), observed[observed > 0].min(initial=1.0)) / 2, 1e-6)
    axes.plot([floor, 1], [floor, 1], color="0.7", linewidth=1)
    axes.plot(np.maximum(predicted, floor), np.maximum(observed, floor), marker="o", markersize=4)
    axes.set(xscale="log", yscale="log", xlabel="predicted probability", ylabel="observed rate")
    axes.set_title(f"reliability, ECE {figures.ece:.4f}")
