"""What all commands share: their options, how they print, how they fail.

People read stdout, unless `--json` gives it to a machine. Progress always goes to stderr. A failure is one
line on stderr and exit code 1. Knows nothing of what any command does.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click
from click.exceptions import Exit
from rich.console import Console, RenderableType
from rich.markup import escape
from rich.text import Text

from streamer.errors import StreamerError

if TYPE_CHECKING:
    from models.progress import Progress
    from streamer.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])


class CommandError(StreamerError):
    """A command cannot do what was asked; the message is one line: what, why, what to do."""


class CommandGroup(click.RichGroup):
    """The group of all commands: shows known failures as one line."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. Exceptions of our own classes are written for people; any other is a defect,
        and keeps its traceback."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            line = _for_people(error)
            if line is None:
                raise
            Console(stderr=True, soft_wrap=True, highlight=False).print(
                Text.assemble(("error: ", "bold red"), line)
            )
            raise Exit(1) from None


def _for_people(error: Exception) -> str | None:
    if type(error).__module__.partition(".")[0] in ("streamer", "models"):
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return None


def settings_option(command: F) -> F:
    """Give the command `settings`, read from the environment and from `--config FILE`."""

    def load(_ctx: click.Context, _parameter: click.Parameter, path: Path | None) -> Settings:
        from streamer.settings import Settings

        return Settings.load(path)

    return click.option(
        "--config",
        "settings",
        type=click.Path(path_type=Path, dir_okay=False),
        callback=load,
        help="Settings file, TOML (also: STREAMER_CONFIG). Environment variables STREAMER_* go before it.",
    )(command)


def json_option(command: F) -> F:
    """Give the command `out`, an `Output`, obedient to `--json`."""

    @click.option(
        "--json", "as_json", is_flag=True, help="Print JSON for machines, and nothing else, on stdout."
    )
    @functools.wraps(command)
    def wrapped(*args: Any, as_json: bool, **kwargs: Any) -> Any:
        return command(*args, out=Output(as_json), **kwargs)

    return wrapped  # type: ignore[return-value]


class Output:
    """Where a command's words and figures go."""

    def __init__(self, as_json: bool = False) -> None:
        self.as_json = as_json
        #: For people: silent when a machine reads stdout.
        self.console = Console(quiet=as_json, highlight=False)
        self.errors = Console(stderr=True, highlight=False)

    def say(self, *what: RenderableType) -> None:
        """Tell people. Strings are markup: what comes from outside is to be escaped."""
        self.console.print(*what, soft_wrap=all(isinstance(w, str) for w in what))

    def warn(self, line: str) -> None:
        """Tell people what they should not overlook, machine or not."""
        self.errors.print(Text.assemble(("warning: ", "bold yellow"), line), soft_wrap=True)

    def json(self, value: Any) -> None:
        """One JSON object on one line for machines; nothing for people."""
        if self.as_json:
            import msgspec

            sys.stdout.buffer.write(msgspec.json.encode(value, enc_hook=_builtin) + b"\n")
            sys.stdout.buffer.flush()

    def next_step(self, what: str) -> None:
        """End with what to do now, in plain text."""
        self.say(f"[bold]next:[/] {escape(what)}")

    def progress(self) -> AbstractContextManager[Progress]:
        """Show steps of long work as they are reported; see `streamer.cli.progress`."""
        from streamer.cli.progress import shown

        return shown(self.errors)


def _builtin(value: Any) -> Any:
    """NumPy scalars and paths as JSON takes them."""
    if hasattr(value, "item"):
        return value.item()
    return str(value)
