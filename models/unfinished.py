"""The folder of a training that is not finished: its data set, first weights, text vectors and checkpoint.

It lies in the bundle's folder, and knows what is being trained from what, so that only the same training goes
on with it. Knows nothing of what the training leaves in it, but for the name of the checkpoint.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Final, Self

import msgspec

from models.checkpoint import CheckpointError
from models.dataset import LAYOUT
from models.recipe import Recipe

#: The checkpoint in the folder. Without it there is nothing worth asking about.
CHECKPOINT: Final = "checkpoint.safetensors"


class Mark(msgspec.Struct, kw_only=True, frozen=True):
    """What is trained from what: SHA-256 of the recipe, of the log's files, of the data set's columns."""

    recipe: str
    log: str
    release: str
    processes: int

    @classmethod
    def of(cls, recipe: Recipe, files: Sequence[Path], processes: int) -> Self:
        """`files` are those of the log that are read."""
        log = sha256()
        for path in files:
            with path.open("rb") as file:
                log.update(path.stem.encode() + file_digest(file, "sha256").digest())
        described = sha256(msgspec.json.encode(recipe)).hexdigest()
        return cls(recipe=described, log=log.hexdigest(), release=LAYOUT, processes=processes)

    def differs(self, other: Mark) -> str:
        """What the other does not have in common, in words; "" where it is the same."""
        names = {"recipe": "recipe", "log": "event log", "release": "release", "processes": "processes"}
        return " and ".join(
            words for name, words in names.items() if getattr(self, name) != getattr(other, name)
        )


def unfinished_folder(out: Path) -> Path:
    """Where it is."""
    return out / ".training"


@contextmanager
def unfinished(out: Path, mark: Mark, *, resume: bool) -> Iterator[Path]:
    """The folder for a training into `out`; it vanishes when the training ends well.

    With `resume` it is the one that was left behind, if any. Raises CheckpointError where that is of another
    training, where there is a checkpoint that nobody asked to go on with, or another process is at work.
    """
    folder = unfinished_folder(out)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        _enter(folder, mark, resume)
        try:
            yield folder
        except Exception:
            # What was interrupted, by a signal or Ctrl-C, stays; what failed stays if it cost anything.
            if not (folder / CHECKPOINT).exists():
                shutil.rmtree(folder)
            raise
        shutil.rmtree(folder)


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """One training at a time, until this process ends, however it does."""
    lock = os.open(out, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise CheckpointError(f"another process trains into {out}: wait for it, or end it") from None
    finally:
        os.close(lock)


def _enter(folder: Path, mark: Mark, resume: bool) -> None:
    saved = (folder / CHECKPOINT).exists()
    different = _found(folder).differs(mark)
    if saved and not resume:
        raise CheckpointError(
            f"{folder} holds a training that was cut off: add --resume to go on with it, or remove it"
        )
    if saved and different:
        raise CheckpointError(
            f"{folder} holds a training with another {different}: it can't be gone on with, remove it"
        )
    if different or not resume:
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "mark.json").write_bytes(msgspec.json.encode(mark))


def _found(folder: Path) -> Mark:
    try:
        return msgspec.json.decode((folder / "mark.json").read_bytes(), type=Mark)
    except (OSError, msgspec.DecodeError):
        return Mark(recipe="", log="", release="", processes=0)
