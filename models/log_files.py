"""Which path of a folder is which table of an event log, by its name. Knows nothing of contents."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final

from models.log_columns import LogError

SUFFIXES: Final = (".parquet", ".jsonl")


def parts(folder: Path) -> list[Path]:
    """The Parquet files in a folder, at any depth; what begins with a dot or _ is no data, as in Spark."""
    return sorted(
        path
        for path in folder.rglob("*.parquet")
        if path.is_file() and not any(name.startswith((".", "_")) for name in path.relative_to(folder).parts)
    )


def find_tables(folder: Path, tables: Collection[str]) -> tuple[dict[str, Path], dict[str, Path]]:
    """The paths of `tables` by name, and those of exposures by what follows `exposures_` in theirs.

    Capitals are no matter. Raises `LogError` where there are two of one, or where something is named like a
    table but of another form: it would be lost silently. Exposures of any form are found: not all are read.
    """
    found: dict[str, Path] = {}
    exposures: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name = path.name.lower()
        stem = path.stem.lower()
        if name.startswith("exposures"):
            _add(exposures, stem.removeprefix("exposures").lstrip("_-."), path)
        elif stem in tables and _readable(path):
            _add(found, stem, path)
        elif name.startswith(tuple(tables)) or stem in {table.removesuffix("s") for table in tables}:
            table = next(table for table in tables if name.startswith(table.removesuffix("s")))
            raise LogError(
                f"{path} can't be read as a table of the event log: give {table}.parquet, {table}.jsonl or a "
                f"folder {table}.parquet of parts, or move it elsewhere"
            )
    return found, exposures


def _readable(path: Path) -> bool:
    suffix = path.suffix.lower()
    if path.is_dir():
        return suffix in ("", ".parquet") and bool(parts(path))
    return suffix in SUFFIXES


def _add(found: dict[str, Path], name: str, path: Path) -> None:
    if name in found:
        raise LogError(f"{path.parent} has both {found[name].name} and {path.name}: remove one")
    found[name] = path
