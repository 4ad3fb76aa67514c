"""Progress of long work on stderr: a bar per phase on a terminal, now and then a line elsewhere.

Knows nothing of the work, which reports `models.progress.Step`s.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from models.progress import Progress, Step
from streamer.cli.durations import duration

#: Seconds between two lines of the same phase where stderr is no terminal.
_LINE_EVERY_S = 10.0


@contextmanager
def shown(console: Console) -> Iterator[Progress]:
    """Show the steps that the context's value is called with, while the context lasts."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        _Figures(),
    )
    with Bars(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(step: Step) -> None:
            if step.phase not in tasks:
                tasks[step.phase] = bars.add_task(step.phase, total=step.total)
            bars.update(tasks[step.phase], completed=step.done, total=step.total, figures=figures(step))

        yield show


class _Lines:
    """A line when a phase ends, and every ten seconds until then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._due: dict[str, float] = {}

    def __call__(self, step: Step) -> None:
        now = time.monotonic()
        due = self._due.setdefault(step.phase, now + _LINE_EVERY_S)
        if now >= due or (step.finished and due != float("inf")):
            self._due[step.phase] = float("inf") if step.finished else now + _LINE_EVERY_S
            self._console.print(f"{step.phase}: {figures(step)}", soft_wrap=True, markup=False)


class _Figures(ProgressColumn):
    """What `figures` said of the latest step."""

    def render(self, task: Task) -> Text:
        return Text(task.fields.get("figures", ""))


def figures(step: Step) -> str:
    """`1,200 of 5,000 events, 400/s, 10 s left`, and the step's values."""
    of = f" of {step.total:,}" if step.total is not None and not step.finished else ""
    parts = [f"{step.done:,}{of} {step.unit}".rstrip()]
    if step.rate and step.seconds >= 0.1:
        parts.append(f"{step.rate:,.0f}/s" if step.rate >= 10 else f"{step.rate:.2g}/s")
    if step.finished:
        parts.append(f"done in {duration(step.seconds)}")
    elif step.seconds_left is not None:
        parts.append(f"{duration(step.seconds_left)} left")
    parts += [f"{name} {value:.4g}" for name, value in step.values.items()]
    return ", ".join(parts)
