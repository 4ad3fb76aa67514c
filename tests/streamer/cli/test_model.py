"""From nothing to figures: simulate, train, evaluate; and what replay refuses."""

from __future__ import annotations

import os
from io import StringIO
from pathlib import Path
from shutil import copytree
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from rich.console import Console
from rich.progress import Progress as Bars

from models.progress import Step
from streamer.cli.durations import duration
from streamer.cli.progress import figures, shown
from streamer.cli.publish import moment
from streamer.cli.replay import span
from tests.models.tiny import tiny_bundle
from tests.streamer.cli.conftest import Command

METRICS = {"exposures", "positives", "auc", "average_precision", "rce", "nrce", "ece"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.streamer.cli.conftest import command

    folder = tmp_path_factory.mktemp("world") / "log"
    ran = command()("simulate", "--out", folder, "--size", "small", "--tweets", 60, "--users", 60, "--json")
    assert ran.object["users"] == 60
    return folder


def test_a_world_is_never_overwritten_unasked(streamer: Command, world: Path) -> None:
    ran = streamer("simulate", "--out", world, "--size", "small")
    assert ran.code == 1
    assert "already holds an event log" in ran.stderr


def test_a_world_is_as_large_and_as_dense_as_asked(streamer: Command, tmp_path: Path) -> None:
    def exposures(*options: object) -> tuple[Any, Any]:
        folder = tmp_path / "-".join(map(str, options)).replace("--", "")
        ran = streamer("simulate", "--out", folder, "--size", "small", "--json", *options)
        return ran.object, pq.read_table(folder / "exposures_train.parquet")

    (sparse, all_of_them), (dense, _) = exposures("--follows", 2), exposures("--follows", 9)
    assert dense["follows"] > 2 * sparse["follows"]
    assert exposures("--follows", 2, "--shown", 0.9)[0]["exposures"] > 1.4 * sparse["exposures"]
    _, kept = exposures("--follows", 2, "--keep-rate", 0.5)
    assert len(kept) < 0.8 * len(all_of_them)
    assert set(kept["keep_rate"].to_pylist()) == {0.5}
    ran = streamer("simulate", "--out", tmp_path / "none", "--shown", 1)
    assert ran.code == 2
    assert "--shown" in ran.stderr


def test_where_nothing_can_be_written_is_said_before_the_work(
    streamer: Command, world: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "locked").mkdir(mode=0o500)
    below = tmp_path / "file" / "below"
    for ran in (
        streamer("simulate", "--out", below),
        streamer("convert", "no.tsv", "--out", below),
        streamer("train", world, "--out", tmp_path / "bundle", "--logs", below),
        streamer("evaluate", tmp_path / "bundle", world, "--report", below),
    ):
        assert ran.code == 2
        assert "is a file, not a folder" in " ".join(ran.stderr.replace("│", " ").split())
    if not os.access(tmp_path / "locked", os.W_OK):  # root may
        assert streamer("simulate", "--out", tmp_path / "locked" / "world").code == 2
    assert not (tmp_path / "bundle").exists()


def test_a_training_that_is_stopped_says_how_to_go_on(
    streamer: Command, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("models.train.fit", stopped)
    ran = streamer("train", world, "--out", tmp_path / "bundle")
    assert ran.code == 1
    assert "--resume goes on" in ran.stderr
    assert (tmp_path / "bundle" / ".training").is_dir()


def test_a_bundle_is_trained_and_judged(streamer: Command, world: Path, tmp_path: Path) -> None:
    trained = streamer(
        "train", world, "--out", tmp_path / "bundle", "--encoder", "bag", "--epochs", 1, "--seed", 3, "--json"
    ).object
    assert trained["heads"][0] == "retweet"
    judged = streamer(
        "evaluate", tmp_path / "bundle", world, "--report", tmp_path / "report", "--json"
    ).object
    assert judged.keys() >= METRICS
    assert judged["model"] == trained["fingerprint"]
    assert (tmp_path / "report" / "report.html").is_file()
    table = streamer("evaluate", tmp_path / "bundle", world)
    assert f"{judged['auc']:.4f}" in table.stdout


def test_rows_that_a_log_loses_are_said(streamer: Command, world: Path, tmp_path: Path) -> None:
    log = copytree(world, tmp_path / "log")
    pq.write_table(pa.table({"user_id": ["a", "b"], "followers": [-1, 3]}), log / "users.parquet")
    tiny_bundle(tmp_path / "bundle")
    why = "Expected `int` >= 0 - at `$.followers`"
    judged = streamer("evaluate", tmp_path / "bundle", log, "--json")
    assert judged.object["rejected"] == {"users": {why: 1}}
    assert f"users: 1 of 2 rows left out: {why}" in judged.stderr
    trained = streamer("train", log, "--out", tmp_path / "peer", "--model", "logistic", "--json")
    assert trained.object["rejected"] == {"users": {why: 1}}
    assert f"users: 1 of 2 rows left out: {why}" in trained.stderr


def test_a_comparison_by_one_class_only_cannot_be_told(
    streamer: Command, world: Path, tmp_path: Path
) -> None:
    shown = pq.read_table(world / "exposures_valid.parquet")
    shown = shown.filter(pc.invert(shown["retweet"])).slice(0, 50)
    pq.write_table(shown, tmp_path / "idle.parquet")
    for name in ("one", "other"):
        tiny_bundle(tmp_path / name)
    options = ("--exposures", tmp_path / "idle.parquet", "--compare", tmp_path / "other")
    ran = streamer("evaluate", tmp_path / "one", world, *options)
    assert "RCE above that of other: it can't be told" in ran.stdout
    assert "nan" not in ran.stdout


def test_a_wrong_recipe_is_one_line(streamer: Command, world: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("[training]\nepoch = 3\n")
    ran = streamer("train", world, "--out", tmp_path / "bundle", "--recipe", tmp_path / "recipe.toml")
    assert ran.code == 1
    assert "unknown field `epoch` - at `$.training`; did you mean `epochs`?" in ran.stderr
    assert ran.stderr.count("\n") == 1


def test_a_replay_needs_a_bundle_a_period_and_kafka(streamer: Command, world: Path, tmp_path: Path) -> None:
    backwards = ("--from", "2024-01-02", "--to", "2024-01-01")
    assert "--to must be after --from" in streamer("replay", world, *backwards).stderr
    day = ("--from", "2024-01-01", "--to", "2024-01-02")
    assert "no bundle is set" in streamer("replay", world, *day).stderr
    tiny_bundle(tmp_path / "bundle")
    ran = streamer("replay", world, "--bundle", tmp_path / "bundle", *day)
    assert ran.code == 1
    assert "cannot reach Kafka" in ran.stderr


@pytest.mark.parametrize(
    ("text", "ms"), [("90s", 90_000), ("15m", 900_000), ("1.5h", 5_400_000), ("7d", 604_800_000)]
)
def test_spans_of_time(text: str, ms: int) -> None:
    assert span(text) == ms


@pytest.mark.parametrize("text", ["", "1", "h", "0h", "1y", "-1h"])
def test_what_is_no_span_of_time(streamer: Command, world: Path, text: str) -> None:
    ran = streamer("replay", world, "--from", "2024-01-01", "--to", "2024-01-02", "--window", text)
    assert ran.code == 2


def test_moments_are_utc_unless_they_say_otherwise() -> None:
    assert moment("2024-01-01") == moment("2024-01-01T00:00:00Z") == 1_704_067_200_000
    assert moment("2024-01-01T01:00+01:00") == moment("1704067200000") == 1_704_067_200_000


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.85, "850 ms"), (12.4, "12 s"), (200, "3 min 20 s"), (7_500, "2 h 5 min"), (360_000, "4 d 4 h")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_progress_says_how_far_how_fast_and_how_long() -> None:
    going = Step("publish", 1_200, 5_000, "events", 3.0)
    assert figures(going) == "1,200 of 5,000 events, 400/s, 10 s left"
    assert figures(Step("epoch 1", 5_000, 5_000, "rows", 2.0, {"loss": 0.25})) == (
        "5,000 rows, 2,500/s, done in 2 s, loss 0.25"
    )
    assert figures(Step("simulate", 10, None, "tweets", 5.0)) == "10 tweets, 2/s"


def test_a_bar_whose_end_is_unknown_is_not_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    screen = Console(file=StringIO(), force_terminal=True)
    made: list[Bars] = []

    def kept(*columns: Any, **options: Any) -> Bars:
        made.append(Bars(*columns, **options))
        return made[0]

    monkeypatch.setattr("streamer.cli.progress.Bars", kept)
    with shown(screen) as show:
        show(Step("learn words", 10, None, "texts", 1.0))
        show(Step("epoch 1", 10, 40, "exposures", 1.0))
    assert [(task.total, task.percentage) for task in made[0].tasks] == [(None, 0), (40, 25)]


@pytest.mark.parametrize("option", [("--seed", 2**32), ("--epochs", 65_537), ("--batch", 65_537)])
def test_a_number_that_no_recipe_may_have_is_refused(
    streamer: Command, world: Path, tmp_path: Path, option: tuple[str, int]
) -> None:
    ran = streamer("train", world, "--out", tmp_path / "bundle", *option)
    assert ran.code == 2
    assert option[0] in ran.stderr
    assert not (tmp_path / "bundle").exists()
