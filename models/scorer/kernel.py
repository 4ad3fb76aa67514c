"""The ranker for four pairs after another, on a CPU: all between the row of a user and its logits is done
while the row is at hand, without temporaries for all pairs.

The same numbers as `models.ranker.Ranker.pair` to about 1e-5; tested against it. Knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.elementary import NO_FLOAT, ordered, unordered
from models.piecewise import BINS
from models.small_layers import LINE, Floats, add_product
from models.state.vector import SKETCH
from models.text.coverage import covered
from models.text.likeness import alike

#: Rows of a feature's knots: 0, what it adds at each of its edges, and the last again, as what is beyond it
#: looks one further.
STEPS: Final = BINS + 2
_SIXTH: Final = np.float32(1 / 6)
_NONE: Final = np.float32(0)
_ONE: Final = np.float32(1)
_THREE: Final = np.float32(3)
_SIX: Final = np.float32(6)
#: Unsigned: indices that may be negative cost a comparison each.
_NEXT: Final = np.uint32(1)

Kernel = Callable[..., np.uint8]


class Weights(NamedTuple):
    """The ranker, for d dimensions, h and l hidden units, f features of 8 bins, a heads.

    `low` and `scale` [8, lanes] say how far a feature is into each of its bins; `knots` [lanes · STEPS, h]
    what it adds to the joint layer at each edge, linear between two: a piecewise linear code times its
    weights. What features below their first bin add is part of the users' projections.
    """

    c: Floats  # [d, h], times the step of user vectors
    low: Floats
    scale: Floats
    knots: Floats
    similarity: Floats  # [3, h]
    middle: Floats  # [h, l]
    middle_bias: Floats
    heads: Floats  # [a, h + l]: `skip` before `heads`, of what is before and after the middle layer
    heads_bias: Floats


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
    """Rows of users: `A·u` [n, h], and bytes [n, `Sizes.row`], of which the last few mean nothing.

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

    @property
    def row(self) -> int:
        """Bytes of a user's row: whole lines of memory, so that none is read for a neighbour's sake."""
        return -(-(self.d + self.w * self.k + self.t + SKETCH + 1) // LINE) * LINE


def lanes_of(features: int) -> int:
    """Numbers in wide registers (of 16) that hold these, and one more that adds nothing."""
    return -(-(features + 1) // 16) * 16


@compiled
def _hardswish(x: np.float32) -> np.float32:
    """Howard et al. 2019."""
    out: np.float32 = x * (min(max(x + _THREE, _NONE), _SIX) * _SIXTH)
    return out


@cache
def kernel(sizes: Sizes) -> Kernel:
    """`pair_logits` for these sizes: with them known, sums stay in registers."""
    d, h, last, k, w, leaning, given, inputs, heads = sizes
    sketches = d + w * k + leaning
    filled = sketches + SKETCH
    lanes = lanes_of(inputs)

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
        z, u = np.zeros((4, h + last), np.float32), np.zeros((4, d), np.float32)
        bent, y = np.zeros((4, h), np.float32), np.zeros((4, last), np.float32)
        x, close = np.zeros(lanes, np.float32), np.empty(k, np.float32)
        passed, below, into = (
            np.zeros(lanes, np.float32),
            np.zeros(lanes, np.uint32),
            np.zeros(lanes, np.float32),
        )
        knot, place = np.zeros(lanes + 3, np.uint32), np.zeros(lanes + 3, np.float32)
        first = (STEPS * np.arange(lanes)).astype(np.uint32)
        sink = np.uint8(0)
        for start in range(0, len(tweet), 4):
            stop = min(start + 4, len(tweet))
            for i in range(start, stop):  # fetch the rows from memory, all at once
                s = user[i]
                for j in range(0, filled + 1, LINE):
                    sink += users.bytes[s, j]
                for j in range(0, h, LINE // 4):
                    sink += np.uint8(users.projected[s, j] > 0)
            for i in range(start, stop):
                p, t, s = i - start, tweet[i], user[i]
                for j in range(h):
                    z[p, j] = users.projected[s, j] + tweets.projected[t, j]
                for j in range(d):
                    u[p, j] = np.float32(users.codes[s, j]) * tweets.vector[t, j]
                for f in range(given):
                    x[f] = features[i, f]
                x[given], x[given + 1], x[given + 2], x[given + 3] = covered(
                    tweets.bits, tweets.weights, tweets.squares, t, users.bytes, s, sketches
                )
                x[given + 4], x[given + 5] = alike(
                    tweets.tastes, tweets.lengths[t], t, users.codes, s, d + w * k, leaning
                )
                for f in range(lanes):
                    bins = np.float32(0)
                    for edge in range(BINS):
                        step = (x[f] - net.low[edge, f]) * net.scale[edge, f]
                        step = _NONE if step < 0 else step
                        bins += _ONE if step > 1 else step  # NaN stays NaN
                    passed[f] = bins
                for f in range(lanes):  # apart from the loop above, or neither is vectorised
                    whole = np.int32(passed[f] if passed[f] > 0 else _NONE)
                    below[f], into[f] = first[f] + np.uint32(whole), passed[f] - np.float32(whole)
                active = 0
                for f in range(inputs):
                    knot[active], place[active] = below[f], into[f]
                    active += passed[f] != 0
                for f in range(active, active + 3):
                    knot[f], place[f] = first[inputs], _NONE
                # Four features at a time: each sum waits for the one before it, if not for memory.
                for f in range(0, active, 4):
                    k0, k1, k2, k3 = knot[f], knot[f + 1], knot[f + 2], knot[f + 3]
                    n0, n1, n2, n3 = k0 + _NEXT, k1 + _NEXT, k2 + _NEXT, k3 + _NEXT
                    p0, p1, p2, p3 = place[f], place[f + 1], place[f + 2], place[f + 3]
                    for j in range(h):
                        z[p, j] += (
                            (net.knots[k0, j] + p0 * (net.knots[n0, j] - net.knots[k0, j]))
                            + (net.knots[k1, j] + p1 * (net.knots[n1, j] - net.knots[k1, j]))
                            + (net.knots[k2, j] + p2 * (net.knots[n2, j] - net.knots[k2, j]))
                            + (net.knots[k3, j] + p3 * (net.knots[n3, j] - net.knots[k3, j]))
                        )

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
                    order, total, power = NO_FLOAT, _NONE, _NONE
                    for j in range(k):
                        order = max(order, ordered(close[j]) if j < n else NO_FLOAT)
                    for j in range(k):  # those that do not count are 0
                        positive = max(close[j], _NONE)
                        total += close[j]
                        power += positive * positive * positive * positive
                    largest = unordered(order)
                    mean = total / np.float32(n)
                    root = np.sqrt(np.sqrt(power / np.float32(n) + np.float32(1e-5)))
                    for j in range(h):
                        z[p, j] += (
                            largest * net.similarity[0, j]
                            + mean * net.similarity[1, j]
                            + root * net.similarity[2, j]
                        )

            add_product(u, net.c, z, d, h)
            for p in range(4):
                for j in range(h):
                    bent[p, j] = _hardswish(z[p, j])
                for j in range(last):
                    y[p, j] = net.middle_bias[j]
            add_product(bent, net.middle, y, h, last)
            for p in range(stop - start):
                for j in range(last):
                    z[p, h + j] = _hardswish(y[p, j])
                for j in range(heads):
                    logit = np.float32(0)
                    for a in range(h + last):
                        logit += z[p, a] * net.heads[j, a]
                    out[start + p, j] = logit + net.heads_bias[j]
        return sink

    return pair_logits
