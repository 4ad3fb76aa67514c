"""The stores as protocols, all batched: one call is one round trip.

Implementations: `models.state.memory` (dictionaries) and `streamer.stores.redis`; one contract suite runs
over both. Each key has one writer at a time (the stage instance that owns the partition), except where a
method says that it is atomic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.state.tweet import TweetRecord
from models.state.user import UserState

#: Bits of an audience entry.
FOLLOWS: Final = 1
FOLLOWED_BACK: Final = 2

#: What is counted per author, in the order of `AuthorStore.get_many`'s columns.
AUTHOR_FIELDS: Final = ("tweets", "retweet", "quote", "reply", "like", "hide", "impression")


class Pair(NamedTuple):
    """A reader and an author, with the audience shard that the reader belongs to."""

    author_id: str
    shard: int
    user_id: str


class TweetStore(Protocol):
    """Tweet records by `id_key`, bound to one model's fingerprint."""

    def get_many(self, keys: Sequence[int]) -> list[TweetRecord | None]:
        """Records in the order of `keys`; None where there is none."""

    def put_new(self, records: Mapping[int, TweetRecord]) -> list[bool]:
        """Store those that are not there yet (atomic). True where stored, False where one was there."""

    def keep(self, keys: Sequence[int]) -> None:
        """Engaged tweets are needed by histories: let them live as long as those."""


class UserStore(Protocol):
    """User states by user id."""

    def get_many(self, user_ids: Sequence[str]) -> list[UserState | None]:
        """States in the order of `user_ids`. Each is the caller's own copy."""

    def put_many(self, states: Mapping[str, UserState]) -> None:
        """Replace these states."""


class UserVectorStore(Protocol):
    """What a model has made of each user (`models.bundle.UserVector` packed), by user id."""

    def get_many(self, user_ids: Sequence[str]) -> list[bytes | None]:
        """Packed vectors in the order of `user_ids`."""

    def put_many(self, vectors: Mapping[str, bytes]) -> None:
        """Replace these, then tell those who cache them."""


class TasteStore(Protocol):
    """What readers' words are, as far as a model knows (`models.state.taste` packed), by user id."""

    def get_many(self, user_ids: Sequence[str]) -> list[bytes | None]:
        """Packed tastes in the order of `user_ids`."""

    def put_many(self, tastes: Mapping[str, bytes]) -> None:
        """Replace these."""


class AudienceStore(Protocol):
    """Followers of an author with the bits FOLLOWS and FOLLOWED_BACK."""

    def get(self, authors: Sequence[tuple[str, int]]) -> list[tuple[list[str], NDArray[np.uint8]]]:
        """For each (author id, shard): user ids and bits uint8 [n], also of entries without FOLLOWS."""

    def sizes(self, authors: Sequence[tuple[str, int]]) -> NDArray[np.int64]:
        """How many entries `get` would bring for each (author id, shard)."""

    def scan(self, author_id: str, shard: int) -> Iterator[tuple[list[str], NDArray[np.uint8]]]:
        """What `get` brings, in parts of some thousands: for audiences too large for one reply.

        An entry that changes meanwhile may come or not; one may come twice.
        """

    def bits(self, pairs: Sequence[Pair]) -> NDArray[np.uint8]:
        """Bits of single pairs, uint8 [n]; 0 where there is no edge."""

    def change(self, changes: Iterable[tuple[Pair, int, bool]]) -> None:
        """Set (True) or clear (False) one bit of each pair, atomically and in order. Empty entries vanish.

        Then tell those who cache them.
        """


class AffinityStore(Protocol):
    """What readers did with authors (`affinity.AFFINITY` records)."""

    def get(self, authors: Sequence[tuple[str, int]]) -> list[tuple[list[str], NDArray[np.void]]]:
        """For each (author id, shard): the ids of users with any affinity, and their records [n]."""

    def get_many(self, pairs: Sequence[Pair]) -> NDArray[np.void]:
        """Records [n] of single pairs, zeros where there is none; the caller's own copy."""

    def put_many(self, records: Mapping[Pair, NDArray[np.void]]) -> None:
        """Replace these records, then tell those who cache them."""


class AuthorStore(Protocol):
    """Decayed counts of what authors published and received, as forward-decayed sums (`authors` module)."""

    def get_many(self, author_ids: Sequence[str]) -> NDArray[np.float64]:
        """Sums [n, len(AUTHOR_FIELDS)]; zeros where nothing is known."""

    def add(self, increments: Iterable[tuple[str, str, float]]) -> None:
        """Add `amount` to `field` of `author` for each (author, field, amount) (atomic per field)."""


class Looked(NamedTuple):
    """What `Intake.look` found, in the order asked: of tweets the record, or else whether they are ours to
    compute; of authors the sums [n, len(AUTHOR_FIELDS)]; of users the state.
    """

    records: list[TweetRecord | None]
    ours: list[bool]
    sums: NDArray[np.float64]
    states: list[UserState | None]


class Intake(Protocol):
    """All that new tweets need of the stores, in one round trip before they are embedded and one after: on a
    busy machine each costs a millisecond, however little it asks for.
    """

    def look(
        self, keys: Sequence[int], seconds: float, authors: Sequence[str] = (), users: Sequence[str] = ()
    ) -> Looked:
        """Tweets by `id_key`, author sums, user states.

        A tweet that has no record is claimed: said to be computed by us, unless somebody said so within the
        last `seconds` (atomic for each tweet).
        """

    def put(self, records: Mapping[int, TweetRecord]) -> list[bool]:
        """Store those that are not there yet (as `TweetStore.put_new`) and count them to their authors."""


@dataclass(slots=True, frozen=True)
class Stores:
    """Every store that the stages and the offline replay work on."""

    tweets: TweetStore
    users: UserStore
    vectors: UserVectorStore
    tastes: TasteStore
    audiences: AudienceStore
    affinities: AffinityStore
    authors: AuthorStore
    intake: Intake
