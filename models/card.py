"""The model card of a bundle: for people, in Markdown. Knows only the bundle's config and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from models.bundle import BundleConfig


def model_card(config: BundleConfig, metrics: Mapping[str, Any]) -> str:
    """What the model is, how it was trained and how good it was on the held-out exposures."""
    text = config.model.text
    lines = [
        "# Retweet probability model",
        "",
        "Predicts, for a reader and a tweet, the probability of each action: "
        + ", ".join(config.heads)
        + ".",
        "Made by `streamer train`, read by `streamer worker` and `streamer evaluate`.",
        "",
        f"- Text encoder: {msgspec.structs.asdict(text)}",
        f"- User encoder: {msgspec.structs.asdict(config.model.user)}",
        f"- Tweet vector: {config.model.tweet.dimensions} numbers",
        "",
        "## On the held-out exposures",
        "",
        "The last part of the training exposures, by time, before the network learned from it; calibration",
        "was fitted on the same exposures.",
        "",
        "| action | exposures | positives | AUC | average precision | RCE | ECE |",
        "|---|---|---|---|---|---|---|",
    ]
    for head, figures in metrics.get("held_out", {}).items():
        cells = [_cell(figures[name]) for name in ("auc", "average_precision", "rce", "ece")]
        lines.append(f"| {head} | {figures['exposures']} | {figures['positives']} | {' | '.join(cells)} |")
    lines += [
        "",
        "The probabilities hold for exposures like those of the training log: for other readers, authors or",
        "times measure them with `streamer evaluate` first.",
        "",
    ]
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
