"""The ranker for one pair after another, on a CPU: everything between a row of a user and its logits is done
while the row is at hand, without temporaries for all pairs.

The same numbers as `models.ranker.Ranker.pair` to about 1e-5; tested against it. Knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.piecewise import BINS
from models.state.vector import SKETCH
from models.text.coverage import covered

#: Pairs whose rows are fetched together.
_AHEAD = 8

Floats = NDArray[np.float32]
Kernel = Callable[..., np.uint8]


class Weights(NamedTuple):
    """The ranker, for d dimensions, h and l hidden units, f features of 8 bins, a heads.

    `low` and `scale` [f, 8] place a feature in its bin; it then adds `base[f, bin] + place · slope[f, bin]`,
    both [f, 8, h], to the joint layer: a piecewise linear code times its weights. What features below their
    first bin add is part of the users' projections.
    """

    c: Floats  # [d, h], times the step of user vectors
    low: Floats
    scale: Floats
    base: Floats
    slope: Floats
    similarity: Floats  # [3, h]
    middle: Floats  # [h, l]
    middle_bias: Floats
    heads: Floats  # [a, l]
    heads_bias: Floats


class Tweets(NamedTuple):
    """Vectors [t, d], `B·t` [t, h], queries [t, w] times the step of interests, and `coverage.Asked`."""

    vector: Floats
    projected: Floats
    query: Floats
    bits: NDArray[np.uint16]
    weights: Floats
    squares: Floats


class Users(NamedTuple):
    """Rows of users: `A·u` [n, h], and bytes [n, d + w·k + SKETCH + 1].

    The bytes are vector codes, interest codes [w, k], the sketch and how many interests count: side by
    side, since what a random row costs is the places in memory it is in rather than its length.
    """

    projected: Floats
    codes: NDArray[np.int8]
    bytes: NDArray[np.uint8]  # the same memory


class Sizes(NamedTuple):
    """What the loops are compiled for: dimensions, hidden units, interests and their width, features given,
    features in all, actions. Dimensions and hidden units are multiples of 4, the width of 2.
    """

    d: int
    h: int
    last: int
    k: int
    w: int
    given: int
    features: int
    heads: int


@cache
def kernel(sizes: Sizes) -> Kernel:
    """`pair_logits` for these sizes: with them known, sums stay in registers."""
    d, h, last, k, w, given, inputs, heads = sizes
    sketches = d + w * k
    filled = sketches + SKETCH

    @compiled
    def pair_logits(
        tweets: Tweets,
        tweet: NDArray[np.intp],
        users: Users,
        user: NDArray[np.intp],
        features: Floats,
        net: Weights,
        out: Floats,
    ) -> np.uint8:
        """Logits of pairs (tweet[i], user[i]) with `pair_features` [n, e] into `out` [n, a].

        Hidden sizes and dimensions are multiples of 4. What is returned means nothing.
        """
        z, y, u = np.empty(h, np.float32), np.empty(last, np.float32), np.empty(d, np.float32)
        close, more = np.empty(k, np.float32), np.empty(4, np.float32)
        sink = np.uint8(0)
        for i in range(len(tweet)):
            if i % _AHEAD == 0:  # start fetching the next rows, all at once
                for p in range(i, min(i + _AHEAD, len(tweet))):
                    s = user[p]
                    for j in range(0, filled, 64):
                        sink += users.bytes[s, j]
                    for j in range(0, h, 16):
                        sink += np.uint8(users.projected[s, j] > 0)
            t, s = tweet[i], user[i]
            for j in range(h):
                z[j] = users.projected[s, j] + tweets.projected[t, j]
            for j in range(d):
                u[j] = np.float32(users.codes[s, j]) * tweets.vector[t, j]
            for a in range(0, d, 4):  # four at once: z stays in registers four times as long
                u0, u1, u2, u3 = u[a], u[a + 1], u[a + 2], u[a + 3]
                for j in range(h):
                    z[j] += (u0 * net.c[a, j] + u1 * net.c[a + 1, j]) + (
                        u2 * net.c[a + 2, j] + u3 * net.c[a + 3, j]
                    )

            more[0], more[1], more[2], more[3] = covered(
                tweets.bits, tweets.weights, tweets.squares, t, users.bytes, s, sketches
            )
            for f in range(inputs):
                x = features[i, f] if f < given else more[f - given]
                if x <= net.low[f, 0]:
                    continue
                b = -1
                for edge in range(BINS):
                    b += x > net.low[f, edge]
                place = min((x - net.low[f, b]) * net.scale[f, b], np.float32(1))
                for j in range(h):
                    z[j] += net.base[f, b, j] + place * net.slope[f, b, j]

            n = users.bytes[s, filled]
            if n:
                for j in range(k):
                    close[j] = 0
                for a in range(0, w, 2):
                    q0, q1 = tweets.query[t, a], tweets.query[t, a + 1]
                    at = d + a * k
                    for j in range(k):
                        close[j] += q0 * np.float32(users.codes[s, at + j]) + q1 * np.float32(
                            users.codes[s, at + k + j]
                        )
                largest, total, power = np.float32(-8), np.float32(0), np.float32(0)
                for j in range(k):  # the others are 0
                    x = close[j]
                    largest = max(largest, x if j < n else np.float32(-8))
                    total += x
                    x = max(x, np.float32(0))
                    power += x * x * x * x
                mean = total / np.float32(n)
                root = np.sqrt(np.sqrt(power / np.float32(n) + np.float32(1e-5)))
                for j in range(h):
                    z[j] += (
                        largest * net.similarity[0, j]
                        + mean * net.similarity[1, j]
                        + root * net.similarity[2, j]
                    )

            for j in range(h):
                z[j] *= min(max(z[j] + np.float32(3), np.float32(0)), np.float32(6)) * np.float32(1 / 6)
            for j in range(last):
                y[j] = net.middle_bias[j]
            for a in range(0, h, 4):
                z0, z1, z2, z3 = z[a], z[a + 1], z[a + 2], z[a + 3]
                for j in range(last):
                    y[j] += (z0 * net.middle[a, j] + z1 * net.middle[a + 1, j]) + (
                        z2 * net.middle[a + 2, j] + z3 * net.middle[a + 3, j]
                    )
            for j in range(last):
                y[j] *= min(max(y[j] + np.float32(3), np.float32(0)), np.float32(6)) * np.float32(1 / 6)
            for j in range(heads):
                x = net.heads_bias[j]
                for a in range(last):
                    x += y[a] * net.heads[j, a]
                out[i, j] = x
        return sink

    return pair_logits
