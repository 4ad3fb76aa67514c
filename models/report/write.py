"""Writes a report's folder: `report.html` and `metrics.json`. Knows nothing of how either is laid out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from models.figures import Metrics
from models.metrics import Floats, Labels, Scores
from models.report.charts import charts
from models.report.page import page


def write_report(
    folder: Path,
    figures: Scores,
    labels: Labels,
    p: Floats,
    weights: Floats | None = None,
    *,
    metrics: Metrics | None = None,
    others: Mapping[str, Floats] | None = None,
    name: str = "this model",
) -> list[Path]:
    """Write `report.html` and `metrics.json` into `folder`; returns their paths.

    `metrics` adds intervals, segments and the comparison; `others` are other models' probabilities [n] by
    name, drawn beside `name`'s. Labels are bool [n], weights [n] or None.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plots = charts(labels, {name: p, **(others or {})}, weights)
    files = {
        "report.html": page(name, figures, metrics, plots).encode(),
        "metrics.json": msgspec.json.format(
            msgspec.json.encode(figures.plain() if metrics is None else metrics.plain()), indent=2
        ),
    }
    for file, data in files.items():
        (folder / file).write_bytes(data)
    return [folder / file for file in files]
