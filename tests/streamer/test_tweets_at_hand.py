from __future__ import annotations

import numpy as np

from models.state.tweet import TweetRecord
from streamer.tweets_at_hand import TweetsAtHand


def tweet(author: str) -> TweetRecord:
    return TweetRecord(author, 0, (), np.zeros(2, np.float16))


def test_those_at_hand_are_found_and_no_others() -> None:
    at_hand, record = TweetsAtHand(), tweet("a")
    at_hand.put({1: record, 2: tweet("b")})
    assert at_hand.get_many([3, 1]) == {1: record}


def test_never_more_than_there_is_room_for() -> None:
    at_hand = TweetsAtHand(3)
    at_hand.put({1: tweet("a"), 2: tweet("b")})
    at_hand.put({3: tweet("c")})
    assert len(at_hand.get_many(range(9))) == 3
    at_hand.put({4: tweet("d")})
    assert at_hand.get_many(range(9)).keys() == {4}
