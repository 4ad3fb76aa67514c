from __future__ import annotations

from pathlib import Path

import pytest

from models.log import EventLog
from tests.streamer.cli.conftest import Command


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Training and validation files of a small world; in the first, line 3 has no time and line 5 is cut."""
    from tests.streamer.cli.conftest import command

    folder = tmp_path_factory.mktemp("world")
    sizes = ("--size", "small", "--tweets", 60, "--users", 60)
    assert command()("simulate", "--out", folder, *sizes, "--recsys").code == 0
    found = sorted(folder.rglob("*train*.tsv")) + sorted(folder.rglob("*valid*.tsv"))
    lines = found[0].read_text().split("\n")
    fields = lines[2].split("\x01")
    fields[8] = "yesterday"
    lines[2], lines[4] = "\x01".join(fields), lines[4][:50]
    found[0].write_text("\n".join(lines))
    return found


def test_unreadable_rows_are_counted_with_their_lines(
    streamer: Command, files: list[Path], tmp_path: Path
) -> None:
    train, valid = files
    ran = streamer("convert", train, "--valid", valid, "--out", tmp_path / "log", "--json")
    assert ran.code == 0
    of_train = ran.object["read"][str(train)]
    assert of_train["unreadable"] == 2
    assert [problem.partition(":")[0] for problem in of_train["problems"]] == ["line 3", "line 5"]
    assert ran.object["read"][str(valid)]["unreadable"] == 0
    assert "2 rows left out" in ran.stderr
    assert "line 3: `tweet_timestamp` can't be 'yesterday'" in ran.stderr
    log = EventLog(tmp_path / "log")
    assert log.exposures["train"].rows == of_train["rows"]
    assert log.exposures["valid"].rows == ran.object["written"]["exposures_valid"]


def test_strict_stops_at_the_first_in_one_line(streamer: Command, files: list[Path], tmp_path: Path) -> None:
    ran = streamer("convert", files[0], "--out", tmp_path / "log", "--strict")
    assert ran.code == 1
    error = ran.stderr.splitlines()[-1]
    assert error.startswith("error: ")
    assert f"{files[0]}, line 3: `tweet_timestamp` can't be 'yesterday'" in error
    assert not (tmp_path / "log").exists(), "it had been made for this"


def test_what_is_no_such_file_is_one_line(streamer: Command, tmp_path: Path) -> None:
    (tmp_path / "other.tsv").write_text("a\tb\n")
    for name, message in (("other.tsv", "is no RecSys TSV"), ("none.tsv", "can't be read")):
        ran = streamer("convert", tmp_path / name, "--out", tmp_path / "log")
        assert ran.code == 1
        assert message in ran.stderr
        assert ran.stderr.count("\n") == 1
