"""Which dead letters of a partition were replayed, in the room that Kafka gives a committed offset.

A replay may leave some out (other reason, other topic), so one offset cannot say how far it got. The offset
committed is the first that was not replayed; the ranges replayed beyond it go into the commit's metadata,
as text: `+12-15,18` for offsets 12 to 15 and 18. Knows nothing of Kafka clients.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

#: `offset.metadata.max.bytes` of a broker is 4,096 by default.
MAX_METADATA = 4_000
_MARK = "+"


@dataclass
class Replayed:
    """Every offset below `position` counts as replayed, and those in `beyond`."""

    position: int = 0
    beyond: set[int] = field(default_factory=set)

    def __contains__(self, offset: int) -> bool:
        return offset < self.position or offset in self.beyond

    def add(self, offsets: Iterable[int], start: int) -> Replayed:
        """With these as well; records before `start` are gone from the topic and need no remembering."""
        position = max(self.position, start)
        beyond = {offset for offset in (*self.beyond, *offsets) if offset >= position}
        while position in beyond:
            beyond.remove(position)
            position += 1
        return Replayed(position, beyond)

    @property
    def metadata(self) -> str:
        """Text for the commit; may be longer than `MAX_METADATA`."""
        ranges: list[list[int]] = []
        for offset in sorted(self.beyond):
            if ranges and ranges[-1][1] == offset - 1:
                ranges[-1][1] = offset
            else:
                ranges.append([offset, offset])
        return _MARK + ",".join(str(a) if a == b else f"{a}-{b}" for a, b in ranges) if ranges else ""

    @classmethod
    def read(cls, position: int, metadata: str) -> Replayed:
        """The inverse of `metadata`. Raises ValueError when somebody else wrote it."""
        beyond: set[int] = set()
        if metadata:
            if not metadata.startswith(_MARK):
                raise ValueError(f"not the metadata of a replay: {metadata!r}")
            for part in metadata.removeprefix(_MARK).split(","):
                first, _, last = part.partition("-")
                beyond.update(range(int(first), int(last or first) + 1))
        return cls(position, beyond)
