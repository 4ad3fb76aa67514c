"""The stages. Importing this is cheap; building one imports what it needs."""

from __future__ import annotations

from typing import Final

from streamer.errors import StreamerError
from streamer.settings import Settings
from streamer.stage import Stage

#: Every stage, in the order in which data flow.
STAGES: Final = ("follows", "users", "embed", "score")


def build(name: str, settings: Settings) -> Stage:
    """The stage of that name, working on Redis; nothing is loaded or connected before `open`.

    Raises `StreamerError` for a name that is not in `STAGES`.
    """
    from streamer.stages.backend import RedisBackend

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

            return EmbedStage(settings, backend)
        case "score":
            from streamer.stages.score import ScoreStage

            return ScoreStage(settings, backend)
    raise StreamerError(f"there is no stage {name!r}; there are {', '.join(STAGES)}")
