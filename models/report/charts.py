"""The plots of a report as inline SVG that follows the page's colours, light or dark.

Knows only labels and probabilities.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.metrics import precision_recall_curve, roc_curve

from models.metrics import Floats, Labels, reliability

Series = Mapping[str, Floats]
#: Drawn in colours that nothing else has, which become the page's variables.
_COLOURS: Final = {
    "#010101": "var(--ink)",
    "#020202": "var(--faint)",
    **{f"#0{i}0{i}0{i}": f"var(--series{i - 2})" for i in range(3, 9)},
}
_SERIES: Final = [colour for colour, name in _COLOURS.items() if "series" in name]
#: Points of a curve that are drawn: more can't be seen.
_POINTS: Final = 400
_STYLE: Final = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.grid": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#020202",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": "#020202",
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), "#010101"),
}
MOST_SERIES: Final = len(_SERIES)


def charts(labels: Labels, series: Series, weights: Floats | None) -> list[str]:
    """SVG of each plot; none where labels are of one class. At most MOST_SERIES series are drawn."""
    if not labels.any() or labels.all():
        return []
    drawn = dict(list(series.items())[:MOST_SERIES])
    return [_svg(draw, labels, drawn, weights) for draw in (_roc, _precision_recall, _reliability, _deciles)]


def _svg(
    draw: Callable[[Axes, Labels, Series, Floats | None], None],
    labels: Labels,
    series: Series,
    weights: Floats | None,
) -> str:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5, 4.2), layout="constrained")
        axes = figure.add_subplot()
        axes.set_prop_cycle(color=_SERIES)
        axes.set_axisbelow(True)
        draw(axes, labels, series, weights)
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r' (width|height)="[\d.]+pt"', "", text, count=2)
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.S)
    # Ids would be those of the other plots' too; only those that are referred to are kept, under a name.
    name = draw.__name__.strip("_")
    text = re.sub(
        r' id="(?:figure|axes|patch|line2d|text|matplotlib\.axis|xtick|ytick|legend)_\d+"', "", text
    )
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r"font: ?(bold |700 )?[\d.]+px[^;\"]*", _font, text)
    for colour, variable in _COLOURS.items():
        text = text.replace(colour, variable)
    return text.replace("<svg", f'<svg role="img" aria-label="{name.replace("_", " ")}"', 1)


def _font(found: re.Match[str]) -> str:
    """The page's typeface in the plot's size."""
    size = re.search(r"[\d.]+px", found[0])
    weight = "600 " if found[1] else ""
    return f"font: {weight}{size[0] if size else '10px'} system-ui, sans-serif"


def _thin(*columns: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Evenly spread points, the first and the last among them."""
    chosen = np.unique(np.linspace(0, len(columns[0]) - 1, _POINTS).astype(np.int64))
    return tuple(column[chosen] for column in columns)


def _roc(axes: Axes, labels: Labels, series: Series, weights: Floats | None) -> None:
    axes.plot([0, 1], [0, 1], color="#020202", linewidth=1)
    for name, p in series.items():
        false, true, _ = roc_curve(labels, p, sample_weight=weights)
        # Most of a curve is near its beginning, where few points of an even spread would be.
        grid = np.unique(np.concatenate([np.linspace(0, 1, _POINTS), np.geomspace(1e-4, 1, _POINTS)]))
        axes.plot(grid, np.interp(grid, false, true), label=name)
    axes.set(
        xlabel="false positive rate", ylabel="true positive rate", title="ROC", xlim=(0, 1), ylim=(0, 1.01)
    )
    axes.legend(loc="lower right")


def _precision_recall(axes: Axes, labels: Labels, series: Series, weights: Floats | None) -> None:
    axes.axhline(float(np.average(labels, weights=weights)), color="#020202", linewidth=1)
    for name, p in series.items():
        precision, recall, _ = precision_recall_curve(labels, p, sample_weight=weights)
        recall, precision = _thin(recall[:-1], precision[:-1])
        axes.plot(recall, precision, label=name)
    axes.set(xlabel="recall", ylabel="precision", title="Precision and recall", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(loc="best")


def _reliability(axes: Axes, labels: Labels, series: Series, weights: Floats | None) -> None:
    found = {name: reliability(labels, p, weights)[:2] for name, p in series.items()}
    every = np.concatenate([np.concatenate(pair) for pair in found.values()])
    floor = max(every[every > 0].min() / 2, 1e-6)
    axes.plot([floor, 1], [floor, 1], color="#020202", linewidth=1)
    for name, (predicted, observed) in found.items():
        seen = observed > 0  # on a logarithmic axis nothing is nowhere
        axes.plot(np.maximum(predicted, floor)[seen], observed[seen], marker="o", markersize=3.5, label=name)
    axes.set(xscale="log", yscale="log", xlabel="predicted probability", ylabel="observed rate")
    axes.set_title("Reliability, 15 bins of equal count")
    axes.legend(loc="upper left")


def _deciles(axes: Axes, labels: Labels, series: Series, weights: Floats | None) -> None:
    name, p = next(iter(series.items()))
    predicted, observed, _ = reliability(labels, p, weights, bins=10)
    at = np.arange(1, len(predicted) + 1)
    axes.bar(at - 0.2, predicted, 0.38, color="#020202", label="predicted")
    axes.bar(at + 0.2, observed, 0.38, color=_SERIES[0], label="observed")
    axes.set(yscale="log", xlabel="decile of predicted probability", ylabel="rate", xticks=at)
    axes.set_title(f"Calibration by decile, {name}")
    axes.legend(loc="upper left")
