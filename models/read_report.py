"""What a pass over a foreign file met: how many rows were read, which could not be.

Knows nothing of any format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from models.log_columns import LogError

#: Problems kept in full; more are only counted.
_SHOWN = 20


@dataclass(slots=True)
class ReadReport:
    """Rows read, rows left out, and where and why the first of these were.

    `strict` makes the first unreadable row raise `LogError` instead.
    """

    strict: bool = False
    rows: int = 0
    unreadable: int = 0
    problems: list[str] = field(default_factory=list)

    def reject(self, path: Path, line: int, fault: str) -> None:
        """Count an unreadable row. Raises `LogError` if `strict`."""
        if self.strict:
            raise LogError(f"{path}, line {line}: {fault}")
        self.unreadable += 1
        if len(self.problems) < _SHOWN:
            self.problems.append(f"line {line}: {fault}")
