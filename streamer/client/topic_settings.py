"""Whether topics keep what the stream counts on: somebody else, or an earlier release, may have made them.

How long else anything is kept is up to whoever runs the broker. Knows nothing of how findings are shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from streamer.client.topics import DAY_MS, TOPICS
from streamer.settings import KafkaSettings

#: Values by name, of a topic; topics by logical name.
Configs = Mapping[str, Mapping[str, str]]


def configs(admin: KafkaAdminClient, kafka: KafkaSettings, names: Iterable[str]) -> Configs:
    """What the broker has set for these topics, which exist; nothing for those that nobody lets us ask about.

    Raises `KafkaError`.
    """
    full = {kafka.topic(name): name for name in names}
    asked = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in full]
    answer = admin.describe_configs(asked, config_filter="all")["topic"] if asked else {}
    return {
        full[topic]: {key: str(entry["value"]) for key, entry in values.items()}
        for topic, values in answer.items()
    }


def losses(kafka: KafkaSettings, found: Configs) -> dict[str, tuple[str, str]]:
    """Of each topic that loses what is needed, by full name: what is wrong, and the setting that mends it."""
    out: dict[str, tuple[str, str]] = {}
    if (policy := found.get("users", {}).get("cleanup.policy", "compact")) != "compact":
        out["users"] = f"cleanup.policy is {policy}: profiles vanish", "cleanup.policy=compact"
    if (kept := _kept(found, "follows")) < math.inf:
        out["follows"] = (
            f"kept {_days(kept)}: an empty Redis could not be filled again with older ones",
            _retention(math.inf),
        )
    if tweets := found.get("tweets"):
        # A request carries its tweet's time, and brokers drop whole segments: see `TOPICS`.
        needed = _kept(found, "tweets") + int(tweets["segment.ms"])
        if (kept := _kept(found, "score-requests")) < needed:
            out["score-requests"] = (
                f"kept {_days(kept)}, tweets {_days(_kept(found, 'tweets'))} and a segment: "
                "requests for late ones go unread",
                _retention(needed),
            )
    room, ours = "max.message.bytes", int(TOPICS["dead-letters"].config["max.message.bytes"])
    if (size := int(found.get("dead-letters", {}).get(room, ours))) < ours:
        out["dead-letters"] = f"{room} is {size:,}: a large letter stops its worker", f"{room}={ours}"
    return {kafka.topic(name): told for name, told in out.items()}


def _kept(found: Configs, topic: str) -> float:
    """Milliseconds; forever where there is no such topic, or nobody may ask."""
    retention = int(found.get(topic, {}).get("retention.ms", -1))
    return math.inf if retention < 0 else retention


def _retention(ms: float) -> str:
    return f"retention.ms={-1 if ms == math.inf else ms}"


def _days(ms: float) -> str:
    return "forever" if ms == math.inf else f"{ms / DAY_MS:.3g} days"
