"""What of a log a replay could not use, and what makes the rest doubtful: in numbers, and in words.

Knows nothing of how a log is read or replayed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from models.dataset import Dataset
from models.events import HEADS
from models.log_columns import LogError
from models.state.decay import ACTION_INDEX

#: Reasons shown for each table, the most frequent ones.
_SHOWN: Final = 5
_CHUNK: Final = 1 << 20


class Losses(msgspec.Struct, kw_only=True, frozen=True):
    """`rows` of each table; those `rejected`, and the exposures `skipped`, by reason.

    `unmatched` engagements have no tweet before them. `acted` exposures ended in an action, `answered` ones
    of these are shown after that very action, by the log's times.
    """

    rows: dict[str, int] = {}
    rejected: dict[str, dict[str, int]] = {}
    skipped: dict[str, int] = {}
    unmatched: int = 0
    acted: int = 0
    answered: int = 0

    def warnings(self) -> list[str]:
        """Lines for people; none where all is well."""
        out = []
        for table, counts in self._by_table().items():
            for reason, count in most_frequent(counts):
                out.append(f"{self._share(table, count)} left out: {reason}")
        engagements = self.rows.get("engagements", 0) - sum(self.rejected.get("engagements", {}).values())
        if 2 * self.unmatched > engagements:
            out.append(
                f"engagements: {self.unmatched:,} of {engagements:,} have no tweet before them: "
                "are tweets missing, or clocks or units of time mixed up?"
            )
        if 100 * self.answered > self.acted:
            out.append(
                f"exposures: {self.answered:,} of {self.acted:,} that ended in an action are shown after "
                "that very engagement: the model would learn what it is asked"
            )
        return out

    def largest(self) -> str:
        """The most frequent reason of each table that lost rows, to end a sentence with; "" for none."""
        found = [
            f"{self._share(table, count)}: {reason}"
            for table, counts in self._by_table().items()
            for reason, count in most_frequent(counts)[:1]
        ]
        return f" (left out: {'; '.join(found)})" if found else ""

    def _by_table(self) -> dict[str, dict[str, int]]:
        return {"exposures": self.skipped, **self.rejected}

    def _share(self, table: str, count: int) -> str:
        return f"{table}: {count:,} of {self.rows.get(table, count):,} rows"


def losses_of(dataset: Dataset) -> Losses:
    """What the replay that wrote the dataset counted, and what its columns tell."""
    counted = msgspec.convert(dataset.info, Losses)
    acted, answered = _answered(dataset)
    return msgspec.structs.replace(counted, acted=acted, answered=answered)


def nothing_to_learn(dataset: Dataset, exposures: int) -> LogError:
    """What training refuses the first so many exposures with: all ended alike, so there is nothing to tell
    apart.
    """
    held_out = ""
    if "retweet" in dataset.heads(slice(0, len(dataset.exposures))):
        held_out = (
            f": both are there with the last {len(dataset.exposures) - exposures:,}, which are held out; "
            "a smaller `training.held_out` in a recipe, or a longer log, leaves them to learn from"
        )
    return LogError(
        f"{exposures:,} exposure{'s' * (exposures != 1)} to train on, but not both retweeted and not "
        f"retweeted ones among them: nothing can be learned{losses_of(dataset).largest()}{held_out}"
    )


def _answered(dataset: Dataset) -> tuple[int, int]:
    """How many exposures ended in an action, and how many of them come after it."""
    labels = np.asarray(dataset.exposures["labels"]) == 1
    answered = np.zeros(len(labels), np.bool_)
    for i, head in enumerate(HEADS):
        rows = np.flatnonzero(labels[:, i])
        shown = dataset.exposures[rows]
        pairs = dataset.readers[rows].astype(np.uint64) << 32 | shown["named"]
        pairs, place = np.unique(pairs, return_inverse=True)
        first = np.full(len(pairs), len(dataset.engaged))
        for start in range(0, len(dataset.engaged) if len(pairs) else 0, _CHUNK):
            part = dataset.engaged[start : start + _CHUNK]
            same = np.flatnonzero(part["action"] == ACTION_INDEX[head])
            done = part["reader"][same].astype(np.uint64) << 32 | part["named"][same]
            at = np.minimum(np.searchsorted(pairs, done), len(pairs) - 1)
            hit = pairs[at] == done
            np.minimum.at(first, at[hit], start + same[hit])
        # What anybody had done by the time a user was noted is there: his or her own actions all are.
        answered[rows] |= first[place] < dataset.users["engaged"][shown["user"]]
    return int(labels.any(1).sum()), int(answered.sum())


def most_frequent(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Reasons worth showing with their counts, the most frequent first, and the sum of the others."""
    most = sorted(counts.items(), key=lambda item: -item[1])
    if rest := most[_SHOWN:]:
        most[_SHOWN:] = [("other reasons", sum(count for _, count in rest))]
    return most
