"""What every text encoder is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence


class Group(NamedTuple):
    """`texts` texts of `length` tokens each, end to end from token `start` of a pack."""

    start: int
    length: int
    texts: int

    @property
    def end(self) -> int:
        """The token after the last."""
        return self.start + self.length * self.texts


def groups_of(lengths: Sequence[int]) -> Iterator[Group]:
    """The groups of a pack, whose texts are in the order of their lengths."""
    start = 0
    for length, same in groupby(lengths):
        group = Group(start, length, len(list(same)))
        yield group
        start = group.end


class TextEncoder(nn.Module):
    """`width` is the length of its vectors, `architecture` what a transformer is rebuilt from.

    `numerics` names the arithmetic: fp32, or what `models.text.numerics` made of it.
    """

    width: int
    architecture: dict[str, Any]
    numerics: str = "fp32"
    #: Whether texts go through `packed` without padding, and may be computed in other arithmetic.
    packable: bool = False

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids int64 [n, l] and mask bool [n, l] to vectors [n, width]."""
        raise NotImplementedError

    def packed(self, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """The same without padding: ids int64 [t] of n texts end to end, in ascending order of length."""
        rows = list(torch.split(ids, list(lengths)))
        mask = pad_sequence([row.new_ones(len(row)) for row in rows], batch_first=True).bool()
        vectors: Tensor = self(pad_sequence(rows, batch_first=True), mask)
        return vectors
