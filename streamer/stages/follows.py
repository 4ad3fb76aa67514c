"""`follows`: follow events become audiences. Knows nothing of the model."""

from __future__ import annotations

from collections.abc import Sequence

from models.events import Follow
from models.state.transitions import apply_follows
from streamer.dead_letters import DeadLetters
from streamer.decoding import Decoder
from streamer.sharding import shard_table
from streamer.stage import Batch, Outputs
from streamer.stages.base import BackedStage

_decoder = Decoder(Follow, "at")


class FollowsStage(BackedStage):
    """See the module."""

    name = "follows"
    topics = ("follows",)

    def process(self, batches: Sequence[Batch]) -> Outputs:
        """Set and clear the bits of both ends' audiences. Raises `StageUnavailable`."""
        letters = DeadLetters(self.name)
        follows = [follow for _, _, follow in letters.decode(batches, _decoder)]
        users = (user for follow in follows for user in (follow.follower_id, follow.author_id))
        apply_follows(self.backend.stores, follows, shard_table(users, self.shards))
        return Outputs(letters.groups)
