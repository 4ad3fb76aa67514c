"""What a measurement came to, how it is kept (JSON, one file a part), and the table made of it.

Knows nothing of how anything is measured.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

RESULTS: Final = Path(__file__).parent / "results"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One figure. `peer` is whose figure it is, or whom a ratio (unit "x") is against; None is us alone."""

    name: str
    value: float
    unit: str
    target: float | None = None
    higher_is_better: bool = True
    peer: str | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.higher_is_better else self.value <= self.target


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the ratios of paired runs: what slowed both of a pair down cancels out."""
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))


def write(part: str, results: Sequence[Result], folder: Path = RESULTS) -> Path:
    """Keep a part's results. Returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{part}.json"
    file.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    return file


def read(part: str, folder: Path = RESULTS) -> list[Result]:
    """A part's results as last written; none when it never ran."""
    file = folder / f"{part}.json"
    return msgspec.json.decode(file.read_bytes(), type=list[Result]) if file.exists() else []


def table(parts: Iterable[tuple[str, Sequence[Result]]]) -> str:
    """A Markdown table of (part, results), ratios first: those, and whatever has a target.

    Beside a ratio stand the two figures it is made of, where they are of the same name.
    """
    rows = [(part, result, results) for part, results in parts for result in results]
    rows = [row for row in rows if _is_ratio(row[1]) or row[1].target is not None]
    rows.sort(key=lambda row: not _is_ratio(row[1]))  # stable: parts and results stay in their order
    lines = ["| what | figure | target | reproduce |", "|---|---|---|---|"]
    for part, result, results in rows:
        what = result.name if result.peer is None else f"{result.name}, against {result.peer}"
        figure = f"{number(result.value)}{_unit(result.unit)}"
        if _is_ratio(result):
            ours, theirs = (_figure(results, result.name, peer) for peer in (None, result.peer))
            figure += f" ({ours} : {theirs})" if ours and theirs else ""
        lines.append(f'| {what} | {figure} | {_target(result)} | `make bench ARGS="{part}"` |')
    return "\n".join(lines)


def _is_ratio(result: Result) -> bool:
    return result.unit == "x"


def _figure(results: Sequence[Result], name: str, peer: str | None) -> str:
    found = (r for r in results if r.name == name and r.peer == peer and not _is_ratio(r))
    return next((number(result.value) for result in found), "")


def number(value: float) -> str:
    """Three significant digits, thousands separated."""
    if value == 0:
        return "0"
    if abs(value) < 1e-3:
        return f"{value:.2g}"
    return f"{float(f'{value:.3g}'):,.6f}".rstrip("0").rstrip(".")


def _unit(unit: str) -> str:
    return unit if unit in ("x", "%") else f" {unit}"


def _target(result: Result) -> str:
    if result.target is None:
        return ""
    bound = "≥" if result.higher_is_better else "≤"
    return f"{bound} {number(result.target)}: {'met' if result.met else 'not met'}"
