"""What all commands have in common: help, settings, failures, JSON."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from streamer.cli import cli
from tests.streamer.cli.conftest import Command

COMMANDS = {
    *("demo", "simulate", "doctor", "convert", "train", "evaluate", "replay"),
    *("topics", "worker", "publish", "subscribe", "lag", "dead-letters", "schemas"),
}
LEAVES = [
    *((name,) for name in sorted(COMMANDS - {"topics", "dead-letters"})),
    ("topics", "create"),
    ("topics", "describe"),
    ("dead-letters", "list"),
    ("dead-letters", "replay"),
]


def test_every_command_is_listed(streamer: Command) -> None:
    assert set(cli.commands) == COMMANDS
    helped = streamer("--help")
    assert helped.code == 0
    assert all(f" {name} " in helped.stdout for name in COMMANDS)


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_helps_with_an_example(streamer: Command, path: tuple[str, ...]) -> None:
    helped = streamer(*path, "--help")
    assert helped.code == 0
    assert f"streamer {' '.join(path)}" in " ".join(helped.stdout.split("Example:")[1].split())


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from streamer.cli import cli\n"
        "cli(['--help'], standalone_mode=False)\n"
        "heavy = {'torch', 'kafka', 'faust', 'redis', 'pydantic', 'pyarrow', 'numpy'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_sigterm_leaves_no_temporary_folder() -> None:
    code = (
        "import signal, tempfile\n"
        "import streamer.cli\n"
        "@streamer.cli.cli.command()\n"
        "def wait():\n"
        "    with tempfile.TemporaryDirectory() as folder:\n"
        "        print(folder, flush=True)\n"
        "        signal.pause()\n"
        "streamer.cli.main()"
    )
    arguments = [sys.executable, "-c", code, "wait"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            folder = Path(process.stdout.readline().strip())
            assert folder.is_dir()
            process.terminate()
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 1
    assert said.strip() == "Aborted."
    assert not folder.exists()


@pytest.mark.parametrize(
    "args",
    [
        ("topics", "create"),
        ("topics", "describe", "--json"),
        ("lag",),
        ("subscribe", "--limit", "1"),
        ("dead-letters", "list", "--json"),
        ("dead-letters", "replay"),
    ],
    ids=" ".join,
)
def test_without_kafka_it_fails_with_one_line_that_says_what_to_do(
    streamer: Command, args: tuple[str, ...]
) -> None:
    ran = streamer(*args)
    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: ")
    assert ran.stderr.count("\n") == 1
    assert "127.0.0.1:9" in ran.stderr
    assert "kafka.bootstrap" in ran.stderr


def test_wrong_settings_are_one_line(streamer: Command, tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text("[kafka]\nbotstrap = 'here'\n")
    ran = streamer("lag", "--config", tmp_path / "wrong.toml")
    assert ran.code == 1
    assert "kafka.botstrap" in ran.stderr
    assert ran.stderr.count("\n") == 1
    assert streamer("lag", "--config", tmp_path / "nowhere.toml").code == 1


def test_a_mistake_on_the_command_line_is_status_2(streamer: Command) -> None:
    ran = streamer("subscribe", "--min-probability", "2")
    assert (ran.code, ran.stdout) == (2, "")


def test_a_defect_keeps_its_traceback(streamer: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("streamer.client.lag.lag", broken)
    with pytest.raises(ZeroDivisionError):
        streamer("lag")


def test_schemas_are_written_and_checked(streamer: Command, tmp_path: Path) -> None:
    written = streamer("schemas", "--out", tmp_path, "--json").object["written"]
    assert str(tmp_path / "asyncapi.yaml") in written
    assert streamer("schemas", "--out", tmp_path, "--check").code == 0
    (tmp_path / "asyncapi.yaml").write_text("changed by hand")
    ran = streamer("schemas", "--out", tmp_path, "--check", "--json")
    assert ran.code == 1
    assert ran.object == {"drifted": ["asyncapi.yaml"]}
