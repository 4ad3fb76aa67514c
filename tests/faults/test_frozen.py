"""A worker that is frozen (a paused machine) for so long that its group gives its partitions away."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

from tests.streamer.processes import Topics, Worker, eventually

if TYPE_CHECKING:
    from streamer.local.kafka import LocalKafka

#: Records of a call.
_CALL = 100


def test_what_was_given_away_is_not_done_again(kafka: LocalKafka, topic_prefix: str, tmp_path: Path) -> None:
    """But for three calls' worth, of which one was processed, one sent and one between: what waited behind
    them in its memory is somebody else's."""
    topics = Topics(kafka.bootstrap, topic_prefix)
    small = {"STREAMER_KAFKA__MAX_BATCH_RECORDS": f"{_CALL}"}
    with Worker(tmp_path / "frozen.log", kafka.bootstrap, topic_prefix, **small) as frozen:
        frozen.ready()
        topics.publish([b"sleep:8", *(b"%d" % number for number in range(4_000))])
        eventually(lambda: frozen.metric("streamer_underway_records") > 10 * _CALL, 20, "much waits")
        frozen.process.send_signal(signal.SIGSTOP)
        with Worker(tmp_path / "next.log", kafka.bootstrap, topic_prefix, **small) as heir:
            heir.ready(60)
            eventually(lambda: topics.uncommitted() == 0, 60, "the heir has done all")
            before = topics.count()
            frozen.process.send_signal(signal.SIGCONT)
            rebalances = "streamer_rebalances_total"
            eventually(lambda: frozen.metric(rebalances) >= 2, 30, "it is back")
            topics.publish([b"last"])
            eventually(lambda: topics.uncommitted() == 0, 30, "all committed")
            assert topics.count() - before <= 3 * _CALL + 1
