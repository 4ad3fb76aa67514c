"""What a replay leaves on disk: exposures with the state that readers and tweets were in, as flat columns.

Memory maps, so that memory does not grow with the exposures. A user state is stored once for all the
exposures that saw it. Knows nothing of events or of how the columns came about (`models.replay`).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.events import HEADS
from models.features import PAIR_FEATURES, PROFILE_FEATURES, TWEET_FEATURES
from models.histories import SNAPSHOT
from models.state.user import HISTORY

#: A label nobody recorded.
UNKNOWN: Final = 255
#: A tweet: its author's short key, `tweet_features`, and the row its text is in, in `texts.arrow`.
TWEET: Final = np.dtype(
    [("author", "<u4"), ("created_at", "<i8"), ("features", "<f4", (len(TWEET_FEATURES),))]
)
#: A user as somebody's exposure found it; `rows` are the items' rows among the tweets, -1 where unknown.
#: `reader` is his or her short key, `engaged` how many rows of that table were there by then, of all readers.
USER: Final = np.dtype(
    [("snapshot", SNAPSHOT), ("rows", "<i4", (HISTORY,)), ("reader", "<u4"), ("engaged", "<u8")]
)
#: An engagement with a known tweet that was news, in the order in which they came. A retweet's `tweet` is its
#: original's row; its own short key is `named`.
ENGAGED: Final = np.dtype(
    [("reader", "<u4"), ("tweet", "<u4"), ("named", "<u4"), ("at", "<u4"), ("action", "u1")]
)
#: One exposure: rows of the user and the tweet, `named` as above, labels in the order of HEADS,
#: `pair_features`.
EXPOSURE: Final = np.dtype(
    [
        ("user", "<u4"),
        ("tweet", "<u4"),
        ("named", "<u4"),
        ("shown_at", "<i8"),
        ("keep_rate", "<f4"),
        ("cold", "u1"),
        ("labels", "u1", (len(HEADS),)),
        ("features", "<f4", (len(PAIR_FEATURES),)),
    ]
)
#: Who an exposure was shown to, by short key: for whoever counts by person rather than by state.
READER: Final = np.dtype("<u4")
_TABLES: Final[dict[str, np.dtype[Any]]] = {
    "tweets": TWEET,
    "users": USER,
    "engaged": ENGAGED,
    "exposures": EXPOSURE,
    "readers": READER,
}
_TEXTS: Final = pa.schema(
    [("text", pa.large_string()), ("tokens", pa.large_list(pa.int32())), ("language", pa.string())]
)
#: Names the columns: a folder that another release wrote can't be read with other ones.
LAYOUT: Final = sha256(
    repr((_TABLES, _TEXTS, TWEET_FEATURES, PROFILE_FEATURES, PAIR_FEATURES)).encode()
).hexdigest()


def sampling_weights(exposures: NDArray[np.void]) -> NDArray[np.float64] | None:
    """How many each of EXPOSURE [n] stands for, where idle rows were sampled; None where all are kept."""
    rates = exposures["keep_rate"].astype(np.float64)
    if not (rates < 1).any():
        return None
    return np.where((exposures["labels"] == 1).any(1), 1.0, 1.0 / rates)


class DatasetWriter:
    """Appends to the tables of a folder; a context manager."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._files = {name: (folder / f"{name}.bin").open("wb") for name in _TABLES}
        self._texts = pa.ipc.new_file(str(folder / "texts.arrow"), _TEXTS)
        self._rows = dict.fromkeys(_TABLES, 0)

    def add(self, table: str, rows: NDArray[Any]) -> None:
        """Append rows of that table's type."""
        assert rows.dtype == _TABLES[table]
        self._files[table].write(rows.tobytes())
        self._rows[table] += len(rows)

    def add_texts(
        self,
        texts: Sequence[str | None],
        tokens: Sequence[list[int] | None],
        languages: Sequence[str | None],
    ) -> None:
        """Append the texts, or the foreign token ids, and languages of tweets added in the same order."""
        columns = zip((texts, tokens, languages), _TEXTS.types, strict=True)
        self._texts.write_batch(pa.record_batch([pa.array(c, kind) for c, kind in columns], _TEXTS))

    def finish(self, info: dict[str, Any]) -> None:
        """Close, and leave `info` for the reader. Without this the folder is no dataset."""
        self.close()
        draft = self._folder / ".info.json.part"
        draft.write_bytes(msgspec.json.encode(info))
        draft.replace(self._folder / "info.json")

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        self._texts.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def finished(folder: Path) -> bool:
    """Whether a writer finished there."""
    return (folder / "info.json").exists()


class Dataset:
    """`tweets` TWEET [t], `users` USER [u], `engaged` ENGAGED [g], `exposures` EXPOSURE [n] by `shown_at`,
    `readers` READER [n], whose short keys are those of the exposures' users: read-only memory maps.
    """

    def __init__(self, folder: Path) -> None:
        self.info: dict[str, Any] = msgspec.json.decode((folder / "info.json").read_bytes())
        self.tweets = _table(folder, "tweets")
        self.users = _table(folder, "users")
        self.engaged = _table(folder, "engaged")
        self.exposures = _table(folder, "exposures")
        self.readers = _table(folder, "readers")
        self._texts = pa.ipc.open_file(pa.memory_map(str(folder / "texts.arrow"))).read_all()

    def latest(self, count: int) -> Dataset:
        """The same with the latest `count` of the exposures alone, if there are more."""
        out, first = copy(self), max(len(self.exposures) - count, 0)
        out.exposures, out.readers = self.exposures[first:], self.readers[first:]
        return out

    def languages(self, rows: NDArray[np.integer[Any]]) -> list[str | None]:
        """The languages of tweets, None where nobody recorded one."""
        found: list[str | None] = self._texts["language"].take(pa.array(rows)).to_pylist()
        return found

    def texts(self, rows: NDArray[np.integer[Any]]) -> list[str | list[int]]:
        """The text, or the foreign token ids, of tweets."""
        part = self._texts.take(pa.array(rows))
        pairs = zip(part["text"].to_pylist(), part["tokens"].to_pylist(), strict=True)
        return [tokens if text is None else text for text, tokens in pairs]

    def tweets_in_use(self, history: int = HISTORY, *, engaged: bool = False) -> NDArray[np.int64]:
        """Rows, ascending, of tweets that an exposure shows or a history has among its `history` newest, or
        that anybody ever `engaged` with.
        """
        used, readers = np.zeros(len(self.tweets), np.bool_), np.zeros(len(self.users), np.bool_)
        for start in range(0, len(self.exposures), 1 << 18):
            part = self.exposures[start : start + (1 << 18)]
            used[part["tweet"]] = readers[part["user"]] = True
        for start in range(0, len(self.users), 1 << 16):
            part = self.users[start : start + (1 << 16)]
            rows = part["rows"][readers[start : start + (1 << 16)], :history]
            used[rows[rows >= 0]] = True
        if engaged:
            used[self.engaged["tweet"]] = True
        return np.flatnonzero(used)

    def heads(self, of: slice = slice(None)) -> list[str]:
        """Actions that have labels of both kinds among these exposures."""
        labels = self.exposures["labels"][of]
        return [head for i, head in enumerate(HEADS) if {0, 1} <= set(np.unique(labels[:, i]).tolist())]


def _table(folder: Path, name: str) -> NDArray[Any]:
    path = folder / f"{name}.bin"
    if not path.stat().st_size:
        return np.zeros(0, _TABLES[name])
    return np.memmap(path, _TABLES[name], mode="r")
