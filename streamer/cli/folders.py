"""Folders to be written: whether they can be is said before the work, not after it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import rich_click as click


class FolderToWrite(click.Path):
    """A folder that is there, or that can be made; anything else is a usage error."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, file_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Raises `click.BadParameter`."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        nearest = next(each for each in (path, *path.absolute().parents) if each.exists())
        if not nearest.is_dir():
            self.fail(f"{path} can't be made: {nearest} is a file, not a folder", param, ctx)
        if not os.access(nearest, os.W_OK | os.X_OK):
            self.fail(f"{path} can't be written: no permission in {nearest}", param, ctx)
        return path
