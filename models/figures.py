"""What an evaluation comes to, as values. Knows nothing of how figures are computed or shown."""

from __future__ import annotations

from typing import Any

import msgspec

from models.bootstrap import Interval
from models.metrics import Decisions, Scores


class SegmentFigures(msgspec.Struct, kw_only=True):
    """Retweets of one part of the exposures. `predicted` and `observed` are means: equal where calibrated."""

    group: str
    name: str
    scores: Scores
    predicted: float
    observed: float


class Compared(msgspec.Struct, kw_only=True):
    """Retweets by another model on the same exposures; `difference` are intervals of this one minus it."""

    name: str
    model: str
    retweet: Scores
    intervals: dict[str, Interval]
    difference: dict[str, Interval]


class Metrics(msgspec.Struct, kw_only=True):
    """`retweet` is what counts, `intervals` its 95 % intervals; `heads` has every action with labels.

    `decisions` are those of a retweet at a probability of 0.5. `skipped` counts exposures that could not be
    judged, by reason, `rejected` rows of the log's other tables; `warnings` say it for people. A `baseline`
    can't be served.
    """

    retweet: Scores
    intervals: dict[str, Interval]
    decisions: Decisions
    heads: dict[str, Scores]
    segments: list[SegmentFigures]
    compared: list[Compared]
    skipped: dict[str, int]
    rejected: dict[str, dict[str, int]] = {}
    warnings: list[str] = []
    model: str
    baseline: bool = False

    def plain(self) -> dict[str, Any]:
        """For JSON: the figures of retweets at the top, NaN as None."""
        return {
            **self.retweet.plain(),
            "intervals": self.intervals,
            "decisions": self.decisions.plain(),
            "heads": {head: figures.plain() for head, figures in self.heads.items()},
            "segments": [
                {
                    "group": each.group,
                    "name": each.name,
                    **each.scores.plain(),
                    "predicted": each.predicted,
                    "observed": each.observed,
                }
                for each in self.segments
            ],
            "compared": [
                {
                    "name": other.name,
                    "model": other.model,
                    **other.retweet.plain(),
                    "intervals": other.intervals,
                    "difference": other.difference,
                }
                for other in self.compared
            ],
            "skipped": self.skipped,
            "rejected": self.rejected,
            "warnings": self.warnings,
            "model": self.model,
            "baseline": self.baseline,
        }
