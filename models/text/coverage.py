"""How much of a tweet's telling words a reader's history has, from sketches of 300 bytes a reader.

A sketch is a Bloom filter (Bloom 1970) of the terms of the history, and a count-min sketch (Cormode and
Muthukrishnan 2005) of how many tweets those are in that stand in more than one: 2 bits for 2, 3 or 4, and
more. Both use two hashes. A full history of 32 tweets has some 180 terms; one in twenty-five unknown terms
then passes for known. Knowing the terms exactly, in 2 kB, is worth half a point of RCE on a real log, and
the counts one point. Knows nothing of networks, nor of where terms come from.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.state.vector import SKETCH
from models.text.tastes import Tastes
from models.text.terms import Terms

#: Terms taken from each tweet of a history, the heaviest.
HISTORY_TERMS: Final = 8
#: Bytes of the filter; the counts take the others.
SEEN: Final = 204
#: log(1 + tweets) for each count: 1, 2, 3 or 4, more.
LOGS: Final = tuple(np.log1p(n).astype(np.float32) for n in (1.0, 2.0, 3.5, 8.0))
#: Shares of the tweet's squared weight that the history has, and has more than once; the same times
#: log(1 + tweets); the largest weight · log(1 + tweets).
COVERAGE: Final = ("terms_known", "terms_repeated", "terms_often", "terms_best")
#: Where a bit is: its byte, and its place there; a byte holds four counts.
_BYTE: Final = np.uint32(3)
_BIT: Final = np.uint32(7)
_QUARTER: Final = np.uint32(2)
_TWO: Final = np.uint32(2)
_THREE: Final = np.uint32(3)
_LOWEST: Final = np.uint32(1)

Sketch = NDArray[np.uint8]


class Asked(NamedTuple):
    """The terms of tweets, ready to be looked up.

    `bits` uint16 [t, TERMS, 4] are `places`, `weights` float32 [t, TERMS] and `squares`
    float32 [t, TERMS] their weights and shares of the squared weight, 0 where there is no term; `tastes`
    float32 [t, w] the tweets' tastes, for `models.text.likeness`.
    """

    bits: NDArray[np.uint16]
    weights: NDArray[np.float32]
    squares: NDArray[np.float32]
    tastes: NDArray[np.float32]


def asked(terms: Terms, weights: NDArray[np.float32], tastes: Tastes) -> Asked:
    """Terms [t, TERMS] of tweets, with `models.text.terms` weights."""
    weight = weights[terms]
    squares = weight**2
    shares = squares / (squares.sum(1, keepdims=True) + np.float32(1e-6))
    return Asked(places(terms), weight, shares, tastes.of_tweets(terms))


def places(terms: Terms) -> NDArray[np.uint16]:
    """Where terms of any shape [...] stand: uint16 [..., 4], two bits of the filter, two counts."""
    wide = terms.astype(np.uint64)
    mixed = [(wide * factor & 0xFFFFFFFF) >> np.uint64(16) for factor in (0x9E3779B1, 0x85EBCA77)]
    out = np.empty((*terms.shape, 4), np.uint16)
    for i, half in enumerate(mixed):
        out[..., i] = half * (8 * SEEN) >> np.uint64(16)
        out[..., 2 + i] = half * (4 * (SKETCH - SEEN)) >> np.uint64(16)
    return out


def sketch(terms: Terms) -> Sketch:
    """Sketches uint8 [n, SKETCH] of histories' terms [n, m, t], 0 where there is none.

    A term stands at most once in a tweet.
    """
    flat = np.ascontiguousarray(terms.reshape(len(terms), -1))
    out = np.zeros((len(terms), SKETCH), np.uint8)
    _sketch(flat, places(flat), out)
    return out


def coverage(
    tweets: Asked, tweet: NDArray[np.intp], sketches: Sketch, reader: NDArray[np.intp]
) -> NDArray[np.float32]:
    """COVERAGE float32 [n, 4] of pairs (tweet[i], sketches[reader[i]])."""
    out = np.empty((len(tweet), len(COVERAGE)), np.float32)
    _coverage(tweets.bits, tweets.weights, tweets.squares, tweet, sketches, reader, out)
    return out


@compiled
def _sketch(terms: Terms, at: NDArray[np.uint16], out: Sketch) -> None:
    for i in range(len(terms)):
        for j in range(terms.shape[1]):
            term = terms[i, j]
            if not term:
                continue
            count = 0
            for k in range(terms.shape[1]):
                count += terms[i, k] == term
            for p in range(2):
                bit = at[i, j, p]
                out[i, bit >> 3] |= np.uint8(1 << (bit & 7))
            if count > 1:
                level = 1 if count == 2 else 2 if count < 5 else 3
                for p in range(2, 4):
                    place, shift = SEEN + (at[i, j, p] >> 2), 2 * (at[i, j, p] & 3)
                    rest = out[i, place] & ~(3 << shift)
                    out[i, place] = rest | (max((out[i, place] >> shift) & 3, level) << shift)


@compiled
def covered(
    bits: NDArray[np.uint16],
    weights: NDArray[np.float32],
    squares: NDArray[np.float32],
    t: int,
    rows: NDArray[np.uint8],
    r: int,
    at: int,
) -> tuple[np.float32, np.float32, np.float32, np.float32]:
    """COVERAGE of tweet `t` of an `Asked` by the sketch that begins at `rows[r, at]`."""
    known, repeated, often, best = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
    # Indices that may be negative cost a comparison each: with these, a pair's take half the time.
    seen, counts = np.uint32(at), np.uint32(at + SEEN)
    for j in range(weights.shape[1]):
        weight = weights[t, j]
        if weight == 0:
            break  # the heaviest come first
        a, b = np.uint32(bits[t, j, 0]), np.uint32(bits[t, j, 1])
        one, two = rows[r, seen + (a >> _BYTE)], rows[r, seen + (b >> _BYTE)]
        if (one >> (a & _BIT)) & (two >> (b & _BIT)) & _LOWEST:
            a, b = np.uint32(bits[t, j, 2]), np.uint32(bits[t, j, 3])
            one, two = rows[r, counts + (a >> _QUARTER)], rows[r, counts + (b >> _QUARTER)]
            one, two = one >> (_TWO * (a & _THREE)), two >> (_TWO * (b & _THREE))
            level = min(one & _THREE, two & _THREE)
            log = LOGS[level]
            known += squares[t, j]
            if level:
                repeated += squares[t, j]
            often += squares[t, j] * log
            best = max(best, weight * log)
    return known, repeated, often, best


@compiled
def _coverage(
    bits: NDArray[np.uint16],
    weights: NDArray[np.float32],
    squares: NDArray[np.float32],
    tweet: NDArray[np.intp],
    sketches: Sketch,
    reader: NDArray[np.intp],
    out: NDArray[np.float32],
) -> None:
    for i in range(len(tweet)):
        found = covered(bits, weights, squares, tweet[i], sketches, reader[i], 0)
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = found
