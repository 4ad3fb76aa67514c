"""Vectors of texts under a frozen encoder, kept on disk: a text is encoded once, whatever log it is in.

One folder an encoder (named by its fingerprint) with `keys.bin` (a 64-bit hash a text) and `vectors.bin`
(float16). Both only ever grow, so a run that was killed loses nothing but its last chunk. Knows nothing of
logs or encoders: the caller says how to encode.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

Encode = Callable[[list[str]], NDArray[np.float16]]
_KEY: Final = np.dtype("<u8")
#: Texts encoded, and made durable, at a time.
_CHUNK: Final = 2_048


def default_cache() -> Path:
    """Where vectors are kept unless told otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "retweet-streamer" / "texts"


class TextCache:
    """Rows of a growing table of vectors float16 [n, width], by text."""

    def __init__(self, folder: Path, fingerprint: str, width: int) -> None:
        self._folder = folder / f"{fingerprint}-{width}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._width = width
        self._load()

    def fill(self, batches: Iterable[Sequence[str]], encode: Encode) -> Iterator[int]:
        """Encode the texts that are not there yet; yields how many texts of the batches are done with."""
        with self._locked():
            self._load()
            fresh: dict[int, str] = {}
            done = 0
            for batch in batches:
                keys = _keys(batch)
                absent = self._find(keys) < 0
                fresh.update((int(keys[i]), batch[i]) for i in np.flatnonzero(absent).tolist())
                done += len(batch)
                while len(fresh) >= _CHUNK:
                    part = [(key, fresh.pop(key)) for key in list(fresh)[:_CHUNK]]
                    self._append(part, encode)
                    yield done - len(fresh)
            self._append(list(fresh.items()), encode)
            yield done

    def rows(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """The row of each text, -1 where it was never filled in."""
        return self._find(_keys(texts))

    def vectors(self) -> NDArray[np.float16]:
        """The whole table, as a read-only memory map."""
        if not len(self._keys):
            return np.zeros((0, self._width), np.float16)
        shape = (len(self._keys), self._width)
        return np.memmap(self._folder / "vectors.bin", "<f2", mode="r", shape=shape)

    def _find(self, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        if not len(self._keys):
            return np.full(len(keys), -1)
        at = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        return np.where(self._sorted[at] == keys, self._order[at], -1)

    def _append(self, part: list[tuple[int, str]], encode: Encode) -> None:
        if not part:
            return
        vectors = encode([text for _, text in part]).astype("<f2", copy=False)
        with (self._folder / "vectors.bin").open("ab") as file:
            file.write(vectors.tobytes())
        with (self._folder / "keys.bin").open("ab") as file:  # after the vectors: a key promises its vector
            file.write(np.array([key for key, _ in part], _KEY).tobytes())
        self._load()

    def _load(self) -> None:
        keys, vectors = self._folder / "keys.bin", self._folder / "vectors.bin"
        for path in (keys, vectors):
            path.touch()
        n = min(keys.stat().st_size // _KEY.itemsize, vectors.stat().st_size // (2 * self._width))
        os.truncate(keys, n * _KEY.itemsize)
        os.truncate(vectors, n * 2 * self._width)
        self._keys: NDArray[np.uint64] = np.fromfile(keys, _KEY)
        self._order = np.argsort(self._keys, kind="stable")
        self._sorted = self._keys[self._order]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, across processes."""
        with (self._folder / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _keys(texts: Sequence[str]) -> NDArray[np.uint64]:
    digests = b"".join(blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, _KEY)
