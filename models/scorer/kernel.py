"""The ranker for four pairs after another, on a CPU: all between the row of a user and its logits is done
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
from models.small_layers import Floats, add_product
from models.state.vector import SKETCH
from models.text.coverage import covered
from models.text.likeness import alike

_SIXTH = np.float32(1 / 6)

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
    skip: Floats  # [a, h]


class Tweets(NamedTuple):
    """Vectors [t, d], `B·t` [t, h], queries [t, w] times the step of interests, and `coverage.Asked`, and
    the `lengths` [t] of its tastes.
    """

    vector: Floats
    projected: Floats
    query: Floats
    bits: NDArray[np.uint16]
    weights: Floats
    squares: Floats
    tastes: Floats
    lengths: Floats


class Users(NamedTuple):
    """Rows of users: `A·u` [n, h], and bytes [n, d + w·k + t + SKETCH + 1].

    The bytes are vector codes, interest codes [w, k], the leaning's codes, the sketch and how many
    interests count: side by side, since what a random row costs is the places in memory it is in rather
    than its length.
    """

    projected: Floats
    codes: NDArray[np.int8]
    bytes: NDArray[np.uint8]  # the same memory


class Sizes(NamedTuple):
    """What the loops are compiled for: dimensions, hidden units, interests and their width, numbers of a
    leaning, features given, features in all, actions. Dimensions and hidden units are multiples of 4, the
    width of 2.
    """

    d: int
    h: int
    last: int
    k: int
    w: int
    t: int
    given: int
    features: int
    heads: int


@cache
def kernel(sizes: Sizes) -> Kernel:
    """`pair_logits` for these sizes: with them known, sums stay in registers."""
    d, h, last, k, w, leaning, given, inputs, heads = sizes
    sketches = d + w * k + leaning
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
        z, y, u = np.zeros((4, h), np.float32), np.zeros((4, last), np.float32), np.zeros((4, d), np.float32)
        close, more = np.empty(k, np.float32), np.empty(6, np.float32)
        sink = np.uint8(0)
        for start in range(0, len(tweet), 4):
            stop = min(start + 4, len(tweet))
            for i in range(start, stop):  # fetch the rows from memory, all at once
                s = user[i]
                for j in range(0, filled, 64):
                    sink += users.bytes[s, j]
                for j in range(0, h, 16):
                    sink += np.uint8(users.projected[s, j] > 0)
            for i in range(start, stop):
                p, t, s = i - start, tweet[i], user[i]
                for j in range(h):
                    z[p, j] = users.projected[s, j] + tweets.projected[t, j]
                for j in range(d):
                    u[p, j] = np.float32(users.codes[s, j]) * tweets.vector[t, j]

                more[0], more[1], more[2], more[3] = covered(
                    tweets.bits, tweets.weights, tweets.squares, t, users.bytes, s, sketches
                )
                more[4], more[5] = alike(
                    tweets.tastes, tweets.lengths[t], t, users.codes, s, d + w * k, leaning
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
                        z[p, j] += net.base[f, b, j] + place * net.slope[f, b, j]

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
                        z[p, j] += (
                            largest * net.similarity[0, j]
                            + mean * net.similarity[1, j]
                            + root * net.similarity[2, j]
                        )

            add_product(u, net.c, z, d, h)
            for p in range(stop - start):
                for j in range(heads):
                    x = net.heads_bias[j]
                    for a in range(h):
                        x += z[p, a] * net.skip[j, a]
                    out[start + p, j] = x
            for p in range(4):
                for j in range(h):
                    z[p, j] *= min(max(z[p, j] + np.float32(3), np.float32(0)), np.float32(6)) * _SIXTH
                for j in range(last):
                    y[p, j] = net.middle_bias[j]
            add_product(z, net.middle, y, h, last)
            for p in range(stop - start):
                for j in range(last):
                    y[p, j] *= min(max(y[p, j] + np.float32(3), np.float32(0)), np.float32(6)) * _SIXTH
                for j in range(heads):
                    x = np.float32(0)
                    for a in range(last):
                        x += y[p, a] * net.heads[j, a]
                    out[start + p, j] += x
        return sink

    return pair_logits
