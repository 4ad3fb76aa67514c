"""What the demo shows while it runs: progress at first, then tweets and their likeliest readers."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from rich.console import Group, RenderableType
from rich.live import Live as Screenful
from rich.table import Table
from rich.text import Text

from models.progress import Progress, Step
from streamer.cli.console import Output
from streamer.demo.live import Live

#: Seconds between two pictures, and between two lines where there is no terminal to draw on.
_PICTURE_S, _LINE_S = 0.2, 5.0


class Screen:
    """A context. Give `progress` to the preparations; `tick` draws while the stream runs."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._stack = ExitStack()
        self._draws = out.console.is_terminal and not out.as_json
        self._show: Progress | None = None
        self._screenful: Screenful | None = None
        self._started = 0.0
        self._due = 0.0

    def __enter__(self) -> Self:
        self._show = self._stack.enter_context(self._out.progress())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def progress(self, step: Step) -> None:
        """See `models.progress`."""
        if self._show is not None:
            self._show(step)

    def tick(self, live: Live, share: float) -> None:
        """Draw, when it is time to. `share` of the stream is published."""
        now = time.monotonic()
        if not self._started:
            self._started = now
            self._stack.close()  # the bars of the preparations stay above
            if self._draws:
                self._screenful = self._stack.enter_context(
                    Screenful(console=self._out.console, auto_refresh=False, transient=False)
                )
        if now < self._due and share < 1:
            return
        self._due = now + (_PICTURE_S if self._draws else _LINE_S)
        if self._screenful is not None:
            self._screenful.update(self._picture(live, share, now), refresh=True)
        else:
            self._out.errors.print(self._line(live, share, now), soft_wrap=True)

    def _line(self, live: Live, share: float, now: float) -> str:
        seconds = max(now - self._started, 0.1)
        p50 = live.latency_ms()["p50"]
        latency = f", latency {p50:.0f} ms" if p50 is not None else ""
        return (
            f"streaming: {share:.0%}, {live.tweets:,} tweets, {live.engagements:,} engagements, "
            f"{live.predictions:,} predictions ({live.predictions / seconds:,.0f}/s){latency}"
        )

    def _picture(self, live: Live, share: float, now: float) -> RenderableType:
        table = Table("tweet", "readers", "most likely to retweet", expand=True, row_styles=["", "dim"])
        table.columns[0].ratio, table.columns[0].no_wrap = 5, True
        table.columns[1].justify = "right"
        table.columns[2].ratio, table.columns[2].no_wrap = 4, True
        for row in live.rows():
            likeliest = Text(", ").join(
                Text(
                    f"{live.names.get(user, user)} {p:.0%}{' ✓' if did else ''}", "bold green" if did else ""
                )
                for user, p, did in row.likeliest
            )
            text = Text(f"{live.names.get(row.author_id, row.author_id)} ", "cyan") + Text(
                row.text, "default"
            )
            table.add_row(text, f"{row.scored:,}", likeliest)
        return Group(table, Text(self._line(live, share, now)), Text("✓ did retweet it", "green"))
