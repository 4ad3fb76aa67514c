"""The report's HTML: one self-contained page, light or dark as the reader's system, readable on a phone.

Knows figures and finished plots; nothing of how they came about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Final

from models.figures import Metrics
from models.losses import most_frequent
from models.metrics import Scores

#: Name, digits, unit of every figure, as it is headed and in the order shown.
_FIGURES: Final = {
    "auc": ("AUC", 4),
    "average_precision": ("Average precision", 4),
    "rce": ("RCE", 2),
    "nrce": ("NRCE", 4),
    "ece": ("ECE", 5),
}
_GROUPS: Final = {"followers": "Author's followers"}
_STYLE: Final = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2127; --quiet: #5d6770; --faint: #c9ced3;
  --card: #f4f6f8; --series1: #1769aa; --series2: #c7522a; --series3: #2e8b57; --series4: #8e44ad;
  --series5: #b8860b; --series6: #6b7785 }
@media (prefers-color-scheme: dark) { :root { --paper: #14181c; --ink: #e6e9ec; --quiet: #98a2ab;
  --faint: #3d454d; --card: #1d2328; --series1: #5db0f0; --series2: #f08a62; --series3: #63c98e;
  --series4: #c792ea; --series5: #e0b84c; --series6: #a5b0ba } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem 1rem 3rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
h1 { margin: 0; font-size: 1.6rem; overflow-wrap: anywhere }
h2 { margin: 2.2rem 0 .6rem; font-size: 1.15rem }
p { margin: .3rem 0; max-width: 46rem } .quiet { color: var(--quiet); font-size: .9rem }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .7rem;
  margin: 1.2rem 0 }
.cards div { background: var(--card); border-radius: .6rem; padding: .7rem .9rem }
.cards b { display: block; font-size: 1.5rem; line-height: 1.3; font-variant-numeric: tabular-nums }
.cards small { color: var(--quiet); font-size: .8rem; font-variant-numeric: tabular-nums }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: 1.2rem }
.plots svg { display: block; width: 100%; height: auto }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; white-space: nowrap;
  width: 100% }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--faint) }
th { font-weight: 600; color: var(--quiet) } th:first-child, td:first-child { text-align: left }
tr.group td { padding-top: .9rem; font-weight: 600 } tr.mine td { font-weight: 600 }
td small { color: var(--quiet); font-weight: 400 }
"""


def page(name: str, figures: Scores, metrics: Metrics | None, plots: Sequence[str]) -> str:
    """The page as text. Without `metrics` only headline figures and plots."""
    intervals = {} if metrics is None else metrics.intervals
    parts = [f"<h1>How good {escape(name)} is</h1>"]
    said = [f"{figures.exposures:,} exposures, {figures.positives:,} retweets"]
    if metrics is not None:
        said.insert(0, f"model {escape(metrics.model)}")
    parts.append(f'<p class="quiet">{" · ".join(said)}</p>')
    parts.append(_cards(figures, intervals))
    if intervals:
        parts.append(
            '<p class="quiet">In brackets 95 % intervals: a bootstrap by tweets, with all who were shown '
            "them.</p>"
        )
    if metrics is not None and metrics.compared:
        parts += ["<h2>Beside other models, on the same exposures</h2>", _comparison(name, metrics)]
        parts.append(
            '<p class="quiet">Differences are this model minus the other, on the same draws; one whose '
            "interval holds 0 may be chance.</p>"
        )
    if plots:
        parts += [
            "<h2>Plots</h2>",
            f'<div class="plots">{"".join(f"<div>{plot}</div>" for plot in plots)}</div>',
        ]
    else:
        parts.append("<p>All exposures ended alike: there is no curve to draw.</p>")
    if metrics is not None:
        parts += _details(metrics)
    parts.append(_EXPLAINED)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(name)}: evaluation</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def _cards(figures: Scores, intervals: Mapping[str, tuple[float, float]]) -> str:
    cards = []
    for key, (title, digits) in _FIGURES.items():
        interval = intervals.get(key)
        below = f"<small>[{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]</small>" if interval else ""
        cards.append(f"<div>{title}<b>{_number(getattr(figures, key), digits)}</b>{below}</div>")
    return f'<div class="cards">{"".join(cards)}</div>'


def _comparison(name: str, metrics: Metrics) -> str:
    rows = [("mine", [escape(name), *_cells(metrics.retweet)])]
    for other in metrics.compared:
        rows.append(("", [escape(other.name), *_cells(other.retweet)]))
        differences = []
        for key, (_, digits) in _FIGURES.items():
            interval = other.difference.get(key)
            differences.append(
                f"<small>{interval[0]:+.{digits}f} to {interval[1]:+.{digits}f}</small>" if interval else ""
            )
        rows.append(("", ["<small>difference</small>", *differences]))
    return _table(["", *(title for title, _ in _FIGURES.values())], rows)


def _details(metrics: Metrics) -> Iterable[str]:
    counts = ("Shown", "Acted")
    if metrics.segments:
        yield "<h2>Segments</h2>"
        rows = []
        for group, members in groupby(metrics.segments, key=lambda segment: segment.group):
            rows.append(("group", [_GROUPS.get(group, group.capitalize()), *[""] * 7]))
            for each in members:
                s = each.scores
                shown = [_number(s.auc, 4), _number(s.rce, 2), _number(s.ece, 5)]
                rates = [f"{100 * each.predicted:.2f} %", f"{100 * each.observed:.2f} %"]
                rows.append(("", [escape(each.name), f"{s.exposures:,}", f"{s.positives:,}", *shown, *rates]))
        yield _table(["", *counts, "AUC", "RCE", "ECE", "Predicted", "Observed"], rows)
        yield (
            '<p class="quiet">A segment\'s RCE is relative to its own base rate; few positives make it '
            "uncertain.</p>"
        )
    if len(metrics.heads) > 1:
        yield "<h2>Actions</h2>"
        headings = ["", *counts, *(title for title, _ in _FIGURES.values())]
        yield _table(
            headings,
            [
                ("", [escape(head), f"{s.exposures:,}", f"{s.positives:,}", *_cells(s)])
                for head, s in metrics.heads.items()
            ],
        )
    d = metrics.decisions
    yield f"<h2>Decisions at a probability of {d.threshold:g}</h2>"
    found = (("Accuracy", d.accuracy), ("Precision", d.precision), ("Recall", d.recall), ("F1", d.f1))
    yield _table([title for title, _ in found], [("", [_number(value, 4) for _, value in found])])
    if metrics.skipped or metrics.rejected:
        yield "<h2>Left out</h2>"
        for table, lost in {"exposures": metrics.skipped, **metrics.rejected}.items():
            for reason, count in most_frequent(lost):
                yield f"<p>{count:,} {table}: {escape(reason)}</p>"


def _cells(figures: Scores) -> list[str]:
    return [_number(getattr(figures, key), digits) for key, (_, digits) in _FIGURES.items()]


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if value == value else "–"


def _table(headings: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """`rows` are classes and cells that are HTML already."""
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    body = "".join(
        f"<tr{f' class={kind}' if kind else ''}>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        for kind, cells in rows
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


_EXPLAINED: Final = """<h2>How to read it</h2>
<p><b>AUC</b>: how often a retweeted exposure is ranked above one that was not. <b>Average precision</b>: the
mean precision over all recalls; the base rate is what chance gets. <b>RCE</b>: by how many percent the log
loss is below that of always predicting the base rate; <b>NRCE</b> is the ratio itself. <b>ECE</b>: how far
probabilities are from what happens, on average over 15 bins of equal count.</p>
<p class="quiet">Every exposure was scored with what was known when it happened. Where the log keeps only a
sample of what nobody acted on, weights undo that. RCE and average precision depend on the base rate: compare
them on the same exposures only.</p>"""
