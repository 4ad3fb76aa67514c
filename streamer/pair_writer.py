"""Prediction records written straight into Kafka's record format, hundreds of thousands at a time.

JSON put together from strings and appended record by record cost 1.2 us a pair; here one compiled loop copies
the parts that a tweet's or a user's records share and writes the numbers between them: 0.1 us.
Knows where the parts go, not what they say (`streamer.predictions`), and nothing of batch headers beyond the
room they take (`streamer.record_batches`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from streamer.stage import HEADER_ROOM

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]

#: A probability's significant digits.
DIGITS: Final = 5
#: Longest probability: "0." and 19 places.
_NUMBER: Final = 24
#: The powers of ten that a probability is multiplied with: below 1e-15 it loses digits, below 1e-19 it is 0.
_POWERS: Final = np.array([float(f"1e{k}") for k in range(20)])
_ZERO, _POINT = ord("0"), ord(".")
#: What a record takes beside key and value: five varints of up to 5 bytes, attributes, no headers.
_BESIDE: Final = 27


class Texts(NamedTuple):
    """Byte strings in one buffer: the i-th is `buffer[starts[i] : starts[i] + lengths[i]]`."""

    buffer: Bytes
    starts: Places
    lengths: Places


def texts(strings: Sequence[bytes]) -> Texts:
    """These strings, back to back."""
    lengths = np.fromiter(map(len, strings), np.int64, len(strings))
    # A bytearray, because numba compiles anew for arrays that must not be written.
    return Texts(np.frombuffer(bytearray(b"".join(strings)), np.uint8), np.cumsum(lengths) - lengths, lengths)


def write(
    tweets: Texts,
    keys: Texts,
    users: Texts,
    labels: Texts,
    tweet: NDArray[np.intp],
    user: NDArray[np.intp],
    probabilities: NDArray[np.float32],
    partitions: NDArray[np.int64],
    batch_bytes: int,
) -> list[tuple[int, memoryview, int]]:
    """Records for pairs i of `tweet[i]` and `user[i]` [n] with `probabilities` [n, h], as bodies of batches.

    A record's key is `keys[user]`; its value is `tweets[tweet]`, `users[user]`, then each label and its
    number, then the last label (h + 1 labels, the first of them may be empty). `partitions` [n] ascend. Each
    body is of one partition, which is named with it, and has room for a header in front, its number of
    records beside it, and at most `batch_bytes` unless it holds one record.
    """
    if not len(tweet):
        return []
    values = int(labels.lengths.sum()) + probabilities.shape[1] * _NUMBER + _BESIDE
    each = tweets.lengths[tweet] + keys.lengths[user] + users.lengths[user] + values
    # Every batch of a partition but its last is at least half full, unless a single record fills it.
    total, room = int(each.sum()), max(batch_bytes - HEADER_ROOM - int(each.max()), 1)
    batches = min(len(tweet), total // room + 2 + int(partitions[-1] - partitions[0]))
    out = np.empty(total + batches * HEADER_ROOM, np.uint8)
    ends, counts = np.empty(batches, np.int64), np.empty(batches, np.int64)
    made = _write(
        out, ends, counts, HEADER_ROOM, batch_bytes, *tweets, *keys, *users, *labels,
        tweet.astype(np.int64), user.astype(np.int64), np.ascontiguousarray(probabilities), partitions,
        _POWERS,
    )  # fmt: skip
    view, start, first, bodies = out.data, 0, 0, []
    for end, count in zip(ends[:made].tolist(), counts[:made].tolist(), strict=True):
        bodies.append((int(partitions[first]), view[start:end], count))
        start, first = end, first + count
    return bodies


def warm_up() -> None:
    """Compile, or load what was compiled before, so that no batch has to wait for it."""
    one, zero = texts([b"", b""]), np.zeros(1, np.intp)
    write(one, one, one, one, zero, zero, np.zeros((1, 1), np.float32), np.zeros(1, np.int64), 1)


@compiled
def _write(
    out: Bytes,
    ends: Places,
    counts: Places,
    room: int,
    batch_bytes: int,
    tweet_buffer: Bytes,
    tweet_starts: Places,
    tweet_lengths: Places,
    key_buffer: Bytes,
    key_starts: Places,
    key_lengths: Places,
    user_buffer: Bytes,
    user_starts: Places,
    user_lengths: Places,
    label_buffer: Bytes,
    label_starts: Places,
    label_lengths: Places,
    tweets: NDArray[np.int64],
    users: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    partitions: NDArray[np.int64],
    powers: NDArray[np.float64],
) -> int:
    n, heads = probabilities.shape
    numbers = np.empty(heads * _NUMBER, np.uint8)
    digits = np.empty(heads, np.int64)
    labels = 0
    for length in label_lengths:
        labels += length
    batches, start, at, first = 0, 0, room, 0
    for i in range(n):
        tweet, user = tweets[i], users[i]
        value = tweet_lengths[tweet] + user_lengths[user] + labels
        for head in range(heads):
            digits[head] = _number(numbers, head * _NUMBER, probabilities[i, head], powers)
            value += digits[head]
        key = key_lengths[user]
        beside = 2 + _varint_size(i - first) + _varint_size(key) + key + _varint_size(value) + value + 1
        full = at - start + _varint_size(beside) + beside > batch_bytes
        if i > first and (full or partitions[i] != partitions[first]):
            ends[batches], counts[batches] = at, i - first
            batches += 1
            start, first = at, i
            at += room
            beside = 3 + _varint_size(key) + key + _varint_size(value) + value + 1
        at = _varint(out, at, beside)
        out[at] = out[at + 1] = 0  # attributes, and milliseconds since the batch's timestamp
        at = _varint(out, at + 2, i - first)
        at = _varint(out, at, key)
        at = copied(out, at, key_buffer, key_starts[user], key)
        at = _varint(out, at, value)
        at = copied(out, at, tweet_buffer, tweet_starts[tweet], tweet_lengths[tweet])
        at = copied(out, at, user_buffer, user_starts[user], user_lengths[user])
        for head in range(heads):
            at = copied(out, at, label_buffer, label_starts[head], label_lengths[head])
            at = copied(out, at, numbers, head * _NUMBER, digits[head])
        at = copied(out, at, label_buffer, label_starts[-1], label_lengths[-1])
        out[at] = 0  # headers
        at += 1
    ends[batches], counts[batches] = at, n - first
    return batches + 1


@compiled
def copied(out: Bytes, at: int, source: Bytes, start: int, length: int) -> int:
    """Copy bytes, and return where they end."""
    # Indices that may be negative keep the loop from being vectorised (x3). So would views, but each of them
    # counts a reference up and down, atomically: with 8 a record, records took twice as long.
    to, from_ = np.uintp(at), np.uintp(start)
    for i in range(np.uintp(length)):
        out[to + i] = source[from_ + i]
    return at + length


@compiled
def _varint(out: Bytes, at: int, value: int) -> int:
    # Zigzag of a number that is not negative, seven bits at a time.
    rest = value << 1
    while rest > 127:
        out[at] = (rest & 127) | 128
        rest >>= 7
        at += 1
    out[at] = rest
    return at + 1


@compiled
def _varint_size(value: int) -> int:
    size, rest = 1, value << 1
    while rest > 127:
        rest >>= 7
        size += 1
    return size


@compiled
def _number(out: Bytes, at: int, probability: float, powers: NDArray[np.float64]) -> int:
    """Write a number of 0..1 with `DIGITS` significant digits at `out[at]`, as few characters as JSON allows;
    how many.
    """
    wide = np.float64(probability)
    places = DIGITS - 1
    while places < len(powers) - 1 and wide * powers[places - DIGITS + 1] < 1.0:
        places += 1
    digits = np.uint32(np.rint(wide * powers[places]))  # 32 bits divide in a third of the time of 64
    while places > 1 and digits % np.uint32(10) == 0:
        digits //= np.uint32(10)
        places -= 1
    for place in range(places + 1, 1, -1):
        rest = digits // np.uint32(10)
        out[at + place] = _ZERO + (digits - rest * np.uint32(10))
        digits = rest
    out[at] = _ZERO + digits
    out[at + 1] = _POINT
    return places + 2
