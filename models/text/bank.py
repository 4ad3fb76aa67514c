"""Text vectors for training: where the vectors of the dataset's tweets come from, one class for each way.

- `FrozenBank`: the encoder never changes; its vectors are cached on disk once and for all.
- `LiveBank`: the encoder is so cheap (a bag) that every tweet of a batch goes through it with gradients.
- `RefreshedBank`: tweets to be judged go through it with gradients; those of histories come from a table
  that is computed anew at each epoch.

Knows nothing of towers or losses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.dataset import Dataset
from models.network import Network
from models.progress import Phase, Progress, silent
from models.state.decay import ACTIONS
from models.state.taste import remember, taste_dtype
from models.state.tweet import TERMS
from models.text.base import TextEncoder
from models.text.cache import TextCache
from models.text.encode import encode_rows, encode_texts
from models.text.numerics import with_numerics
from models.text.tastes import Tastes
from models.text.terms import Terms, terms_of
from models.text.tokens import Tokens

Rows = NDArray[np.int64]
_CHUNK: Final = 8_192


class Bank(Protocol):
    """Text vectors of dataset tweets."""

    def start_epoch(self, network: Network) -> None:
        """Called before each epoch, and before evaluation."""

    def vectors(self, network: Network, tweets: Rows, judged: NDArray[np.bool_]) -> Tensor:
        """Text vectors [n, width] of tweets; `judged` says which are candidates rather than history."""


def texts_of(dataset: Dataset, tokens: Tokens, tweets: Rows) -> list[str]:
    """Texts of tweets, foreign ids decoded."""
    return [text if isinstance(text, str) else tokens.text_of(text) for text in dataset.texts(tweets)]


class TermTable(NamedTuple):
    """`rows` uint16 [tweets + 1, TERMS] of a dataset's tweets; the last is for row -1, a tweet nobody knows.

    `weights` are those of `models.text.terms`; of histories, the newest `history` tweets count. `readers` are
    the tastes [users] of the dataset's users, made of vectors that `tastes` knows.
    """

    rows: Terms
    weights: NDArray[np.float32]
    history: int
    tastes: Tastes
    readers: NDArray[np.void]

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        tokens: Tokens,
        network: Network,
        file: Path,
        since: int = 0,
        progress: Progress = silent,
    ) -> TermTable:
        """Of the tweets in use, as a network sees them; `file` holds the readers' tastes.

        Users as they were before `since` engagements had happened have none.
        """
        weights, tastes = network.term_weights.cpu().numpy(), network.tastes
        history, remembers = network.config.user.history, network.config.remembers
        phase = Phase(progress, "look for words", None, "tweets")
        rows = terms_in_use(dataset, tokens, weights, phase, history, engaged=remembers)
        phase.end()
        readers = reader_tastes(dataset, rows, tastes, file, since if remembers else len(dataset.engaged) + 1)
        return cls(rows, weights, history, tastes, readers)


def terms_in_use(
    dataset: Dataset,
    tokens: Tokens,
    weights: NDArray[np.float32],
    phase: Phase,
    history: int = 0,
    *,
    engaged: bool,
) -> Terms:
    """Terms [tweets + 1, TERMS] of `Dataset.tweets_in_use`, 0 of the others."""
    rows = np.zeros((len(dataset.tweets) + 1, TERMS), np.uint16)
    used = dataset.tweets_in_use(history, engaged=engaged)
    for start in range(0, len(used), _CHUNK):
        part = used[start : start + _CHUNK]
        rows[part] = terms_of(texts_of(dataset, tokens, part), weights)
        phase.to(start + len(part))
    return rows


def reader_tastes(
    dataset: Dataset, terms: Terms, tastes: Tastes, file: Path, since: int = 0
) -> NDArray[np.void]:
    """Tastes [users] of a dataset's users, each as it was when somebody's exposure found him or her; zeros of
    those that it found before `since` engagements.
    """
    dtype = taste_dtype(len(tastes.center))
    if not len(dataset.users) or dataset.users["engaged"][-1] < since:
        return np.broadcast_to(np.zeros(1, dtype), len(dataset.users))
    out = np.memmap(file, dtype, mode="w+", shape=(len(dataset.users),))
    people: dict[int, NDArray[np.void]] = {}
    done = 0
    for start in range(0, len(out), _CHUNK):
        users = dataset.users[start : start + _CHUNK]
        ends = users["engaged"].tolist()
        news = dataset.engaged[done : ends[-1]]
        added = tastes.of_tweets(terms[news["tweet"]])
        at, action, reader = news["at"].tolist(), news["action"].tolist(), news["reader"].tolist()
        first = done
        for i, (who, end) in enumerate(zip(users["reader"].tolist(), ends, strict=True), start=start):
            for j in range(done - first, end - first):
                taste = people.setdefault(reader[j], np.zeros(1, dtype))
                remember(taste, added[j], ACTIONS[action[j]], at[j])
            done = end
            if who in people and end >= since:
                out[i] = people[who][0]
    return out


class TokenTable:
    """Token ids of the tweets in use, tokenised once, in a file."""

    def __init__(
        self, dataset: Dataset, tokens: Tokens, file: Path, progress: Progress, history: int
    ) -> None:
        used = dataset.tweets_in_use(history)
        self.used = used
        self._place = np.full(len(dataset.tweets), -1, np.int64)
        self._place[used] = np.arange(len(used))
        lengths = []
        phase = Phase(progress, "tokenise", len(used), "tweets")
        with file.open("wb") as out:
            for start in range(0, len(used), _CHUNK):
                rows = tokens.encode(texts_of(dataset, tokens, used[start : start + _CHUNK]))
                out.write(np.concatenate(rows).tobytes())
                lengths += [len(row) for row in rows]
                phase.to(min(start + _CHUNK, len(used)))
        self._ends = np.cumsum(lengths, dtype=np.int64)
        self._ids = np.memmap(file, np.int32, mode="r") if lengths else np.zeros(0, np.int32)

    def place(self, tweets: Rows) -> Rows:
        """Places among the tweets in use."""
        out: Rows = self._place[tweets]
        return out

    def rows(self, tweets: Rows) -> list[NDArray[np.int32]]:
        """Token ids of tweets."""
        places = self._place[tweets]
        starts = np.where(places > 0, self._ends[places - 1], 0)
        return [self._ids[a:b] for a, b in zip(starts.tolist(), self._ends[places].tolist(), strict=True)]


class LiveBank:
    """See the module."""

    def __init__(self, table: TokenTable, tokens: Tokens) -> None:
        self._table, self._tokens = table, tokens

    def start_epoch(self, network: Network) -> None:
        """Nothing to refresh."""

    def vectors(self, network: Network, tweets: Rows, judged: NDArray[np.bool_]) -> Tensor:
        """See `Bank`."""
        ids, mask = self._tokens.pad_batch(self._table.rows(tweets))
        device = network.device()
        out: Tensor = network.text(ids.to(device), mask.to(device))
        return out


class RefreshedBank:
    """See the module."""

    def __init__(self, table: TokenTable, tokens: Tokens, width: int, progress: Progress) -> None:
        self._table, self._tokens, self._progress = table, tokens, progress
        self._vectors = np.zeros((len(table.used), width), np.float16)

    def start_epoch(self, network: Network) -> None:
        """Encode every tweet in use with the encoder as it is now."""
        used = self._table.used
        encoder = with_numerics(network.text, self._tokens)
        phase = Phase(self._progress, "refresh histories", len(used), "tweets")
        for start in range(0, len(used), _CHUNK):
            rows = self._table.rows(used[start : start + _CHUNK])
            self._vectors[start : start + _CHUNK] = encode_rows(encoder, rows)
            phase.to(min(start + _CHUNK, len(used)))

    def vectors(self, network: Network, tweets: Rows, judged: NDArray[np.bool_]) -> Tensor:
        """See `Bank`. Without gradients the table serves the candidates too."""
        device = network.device()
        out = torch.from_numpy(self._vectors[self._table.place(tweets)].astype(np.float32)).to(device)
        if torch.is_grad_enabled() and judged.any():
            ids, mask = self._tokens.pad_batch(self._table.rows(tweets[judged]))
            fresh = network.text(ids.to(device), mask.to(device))
            out[torch.from_numpy(np.flatnonzero(judged)).to(device)] = fresh
        return out


class FrozenBank:
    """See the module."""

    def __init__(
        self,
        dataset: Dataset,
        tokens: Tokens,
        encoder: TextEncoder,
        cache: TextCache,
        progress: Progress,
        history: int,
    ) -> None:
        used = dataset.tweets_in_use(history)
        phase = Phase(progress, "encode texts", len(used), "tweets")

        def batches() -> Iterator[Sequence[str]]:
            for start in range(0, len(used), _CHUNK):
                yield texts_of(dataset, tokens, used[start : start + _CHUNK])

        def encode(texts: list[str]) -> NDArray[np.float16]:
            return encode_texts(encoder, tokens, texts)

        for done in cache.fill(batches(), encode):
            phase.to(done)
        self._rows = np.full(len(dataset.tweets), -1, np.int64)
        start = 0
        for texts in batches():
            self._rows[used[start : start + len(texts)]] = cache.rows(texts)
            start += len(texts)
        self._vectors = cache.vectors()

    def start_epoch(self, network: Network) -> None:
        """Nothing changes."""

    def vectors(self, network: Network, tweets: Rows, judged: NDArray[np.bool_]) -> Tensor:
        """See `Bank`."""
        found = self._vectors[self._rows[tweets]].astype(np.float32)
        return torch.from_numpy(found).to(network.device())
