"""Where a training stands, in one file that is replaced as a whole: safetensors, with JSON in its header.

Knows nothing of what the tensors are (`models.loop`), nor of the folder it lies in (`models.unfinished`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

_KIND: Final = "retweet-streamer-checkpoint-3"


class CheckpointError(Exception):
    """A training can't go on from what is there. The message is one line for people."""


class Stand(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """`step` steps of epoch `epoch` are done, with losses that add up to `total`.

    `best` is the lowest held-out loss so far and `best_epoch` the epoch it came after (0: before the first).
    In the second stage, `refit`, epochs count from 1 again; `done` are the steps of both.
    """

    refit: bool = False
    done: int = 0
    epoch: int = 1
    step: int = 0
    total: float = 0.0
    best: float | None = None
    best_epoch: int = 0


def save(path: Path, stand: Stand, tensors: Mapping[str, Tensor]) -> None:
    """Replace the file. A kill leaves the old one or the new one."""
    draft = path.with_name(f".{path.name}.part")
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    save_file(plain, draft, metadata={"kind": _KIND, "stand": msgspec.json.encode(stand).decode()})
    with draft.open("rb") as file:
        os.fsync(file.fileno())
    draft.replace(path)


def load(path: Path) -> tuple[Stand, dict[str, Tensor]]:
    """What `save` wrote. Raises CheckpointError where the file is none of ours, or damaged."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("kind") != _KIND:
                raise CheckpointError(f"{path} is not a checkpoint of this release: remove it to begin anew")
            stand = msgspec.json.decode(metadata["stand"], type=Stand)
            return stand, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, msgspec.DecodeError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{path} is damaged ({reason}): remove it to begin anew") from error


def named(group: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors under the name of a group, so that several groups have room in a file."""
    return {f"{group}.{name}": value for name, value in tensors.items()}


def within(group: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that `named` put under the name of a group."""
    start = f"{group}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
