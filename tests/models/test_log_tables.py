"""Tables whose parts, pages or units are not as expected."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.log import LogError
from models.log_tables import KINDS, open_table

FOLLOWS = KINDS["follows"]


def follows(times: list[int], first: int = 0) -> pa.Table:
    rows = range(first, first + len(times))
    columns = {"follower_id": [f"u{i}" for i in rows], "author_id": ["a"] * len(times), "at": times}
    return pa.table(columns | {"action": ["follow"] * len(times)})


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_times_in_other_units_are_refused(tmp_path: Path, suffix: str) -> None:
    def read(times: list[int]) -> int:
        path = tmp_path / f"follows.{suffix}"
        if suffix == "parquet":
            pq.write_table(follows(times), path)
        else:
            path.write_text("\n".join(map(json.dumps, follows(times).to_pylist())))
        return len(list(open_table(path, FOLLOWS).events()))

    for unit, times in (
        ("seconds", [0, 1_700_000_000]),
        ("seconds", [1_700_000_000, 1_400_000_000]),
        ("microseconds", [1_700_000_000_000_000, 0, 1_400_000_000_000_000]),
        ("nanoseconds", [1_700_000_000_000_000_000, 1_400_000_000_000_000_000]),
    ):
        with pytest.raises(LogError, match=f"`at` looks like {unit}: milliseconds since 1970 are needed"):
            read(times)
    assert read([1_700_000_000_000, 1_700_000_000_000_000]) == 1, "one wrong time is no reason to stop"
    for times in ([0, 0], [5, 999_999_999], [1_700_000_000, 1_700_000_000_000]):
        assert read(times) == 2


def test_a_folder_of_parts_is_one_table(tmp_path: Path) -> None:
    folder = tmp_path / "follows.parquet"
    (folder / "day=2").mkdir(parents=True)
    pq.write_table(follows([1, 5]), folder / "part-0.parquet")
    pq.write_table(follows([6, 9], first=2), folder / "day=2" / "part-1.parquet")
    for no_data in ("_metadata.parquet", ".part-0.parquet", "_SUCCESS"):
        (folder / no_data).touch()
    table = open_table(folder, FOLLOWS)
    assert table.rows == 4
    assert [path.name for path in table.files] == ["part-1.parquet", "part-0.parquet"]
    assert [at for at, _ in table.events()] == [1, 5, 6, 9]
    assert [event.follower_id for _, event in table.events(5, 9)] == ["u1", "u2"]


def test_parts_in_order_are_not_sorted_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for i in range(3):
        pq.write_table(follows([i, i]), tmp_path / f"{i}.parquet")
    monkeypatch.delattr(np, "argsort")
    assert [at for at, _ in open_table(tmp_path, FOLLOWS).events()] == [0, 0, 1, 1, 2, 2]


def test_a_broken_page_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "follows.parquet"
    pq.write_table(follows(list(range(5_000))), path, use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[200:20_000] = bytes(19_800)
    path.write_bytes(bytes(data))
    with pytest.raises(LogError, match="is not a readable Parquet file") as caught:
        list(open_table(path, FOLLOWS).events())
    assert "\n" not in str(caught.value)
