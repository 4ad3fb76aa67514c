from __future__ import annotations

import random
from typing import Any

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment as Assignment

from streamer.assignment import assignor

PARTITIONS = set(range(4))


class Cluster:
    def __init__(self, *topics: str) -> None:
        self._topics = set(topics)

    def topics(self) -> set[str]:
        return self._topics

    def partitions_for_topic(self, _topic: str) -> set[int]:
        return PARTITIONS


class Group:
    """A consumer group as its leader and its members see it: each has a strategy of its own."""

    def __init__(self, *topics: str) -> None:
        self.topics = topics
        self.members: dict[str, Any] = {}
        self.generation = 0

    def join(self, name: str) -> None:
        self.members[name] = assignor(len(self.topics))

    def rebalance(self) -> dict[str, dict[str, set[int]]]:
        self.generation += 1
        metadata = {name: member.metadata(self.topics) for name, member in self.members.items()}
        leader = next(iter(self.members.values()))
        dealt: dict[str, Assignment] = leader.assign(Cluster(*self.topics), metadata)
        for name, member in self.members.items():
            member.on_assignment(dealt[name])
            if hasattr(member, "on_generation_assignment"):
                member.on_generation_assignment(self.generation)
        return {
            name: {topic: set(partitions) for topic, partitions in parts.assignment}
            for name, parts in dealt.items()
        }


@pytest.mark.parametrize("topics", [("tweets",), ("users", "engagements")])
def test_workers_come_and_go(topics: tuple[str, ...]) -> None:
    choice = random.Random(1)
    group = Group(*topics)
    for number in range(60):
        if len(group.members) > 1 and choice.random() < 0.5:
            del group.members[choice.choice(list(group.members))]
        else:
            group.join(f"worker{choice.random()}-{number}")
        dealt = group.rebalance()
        for topic in topics:
            parts = [worker.get(topic, set()) for worker in dealt.values()]
            assert sorted(partition for part in parts for partition in part) == sorted(PARTITIONS)
            assert max(map(len, parts)) - min(map(len, parts)) <= 1
        assert all(
            len({frozenset(worker.get(topic, ())) for topic in topics}) == 1 for worker in dealt.values()
        )


def test_a_reader_of_one_topic_keeps_what_it_has() -> None:
    group = Group("tweets")
    for name in ("first", "second"):
        group.join(name)
    before = group.rebalance()
    group.join("third")
    after = group.rebalance()
    assert all(after[name]["tweets"] <= before[name]["tweets"] for name in ("first", "second"))


def test_consumers_of_one_process_share_no_memory() -> None:
    score, embed = assignor(1), assignor(1)
    score.on_assignment(Assignment(0, [("score-requests", [1, 2])], b""))
    assert score.metadata(["score-requests"]).user_data
    assert not embed.metadata(["tweets"]).user_data
