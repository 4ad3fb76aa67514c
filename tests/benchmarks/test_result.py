from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.result import Result, number, ratio, read, table, write

RATIO = Result(name="W1", value=21.5, unit="x", target=20, peer="Faust")
SPEED = Result(name="W1", value=61_234.5, unit="predictions/s", target=60_000)
THEIRS = Result(name="W1", value=2_848, unit="predictions/s", peer="Faust")
SIZE = Result(name="bytes", value=810, unit="bytes", target=800, higher_is_better=False)


def test_results_are_kept(tmp_path: Path) -> None:
    assert read("fanout", tmp_path) == []
    file = write("fanout", [SPEED, RATIO], tmp_path)
    assert read("fanout", tmp_path) == [SPEED, RATIO]
    assert file.read_text().startswith('[\n {\n  "name": "W1"')


@pytest.mark.parametrize(
    ("result", "met"), [(SPEED, True), (SIZE, False), (Result(name="", value=0, unit=""), None)]
)
def test_targets(result: Result, met: bool | None) -> None:
    assert result.met is met


def test_table_has_ratios_first_then_targets() -> None:
    lines = table([("fanout", [SPEED, THEIRS, RATIO]), ("memory", [SIZE])]).splitlines()
    assert lines[2:] == [
        '| W1, against Faust | 21.5x (61,200 : 2,850) | ≥ 20: met | `make bench ARGS="fanout"` |',
        '| W1 | 61,200 predictions/s | ≥ 60,000: met | `make bench ARGS="fanout"` |',
        '| bytes | 810 bytes | ≤ 800: not met | `make bench ARGS="memory"` |',
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0000123, "1.2e-05"), (0.01234, "0.0123"), (2.0, "2"), (1234567.0, "1,230,000")],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_ratio_is_of_pairs() -> None:
    assert ratio([10, 30, 20], [1, 2, 4]) == 10
