"""The stages. Importing this is cheap; building one imports what it needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from streamer.errors import StreamerError
from streamer.settings import Settings
from streamer.stage import Stage
from streamer.tweets_at_hand import TweetsAtHand

#: Every stage, in the order in which data flow.
STAGES: Final = ("follows", "users", "embed", "score")


def build_all(names: Sequence[str], settings: Settings) -> list[Stage]:
    """The stages of these names, for one process: what they may share, they do. See `build`."""
    at_hand = TweetsAtHand()
    return [build(name, settings, at_hand) for name in names]


def build(name: str, settings: Settings, at_hand: TweetsAtHand | None = None) -> Stage:
    """The stage of that name, working on Redis; nothing is loaded or connected before `open`.

    Raises `StreamerError` for a name that is not in `STAGES`.
    """
    from streamer.stages.backend import RedisBackend

    at_hand = at_hand or TweetsAtHand()
    backend = RedisBackend(settings, with_model=name != "follows")
    match name:
        case "follows":
            from streamer.stages.follows import FollowsStage

            return FollowsStage(settings, backend)
        case "users":
            from streamer.stages.users import UsersStage

            return UsersStage(settings, backend)
        case "embed":
            from streamer.stages.embed import EmbedStage

            return EmbedStage(settings, backend, at_hand)
        case "score":
            from streamer.stages.score import ScoreStage

            return ScoreStage(settings, backend, at_hand)
    raise StreamerError(f"there is no stage {name!r}; there are {', '.join(STAGES)}")
