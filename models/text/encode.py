"""Many texts through an encoder without gradients, in packs of like length; on a CPU, a pack for each core.

Knows nothing of where texts come from or vectors go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from typing import Final, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.devices import returned, to_device
from models.text.base import TextEncoder
from models.text.bert import ROWS
from models.text.tokens import Tokens

#: Tokens that go through an encoder at once: on a CPU what is computed at the least, on a GPU what fills it
#: (a BERT-base on an H200, tokens/s: 16,384 and 32,768 2.78M, 49,152 2.83M, 65,536 2.86M).
_PACK: Final = {"cpu": ROWS, "cuda": 65_536}
#: The same of 8-bit integers on a CPU: what each call costs besides products weighs more there, and integer
#: sums do not depend on the number of rows. MiniLM on one core, texts/s: 256 tokens 377, 512 423, 1,024
#: 456; on two, 512 and 1,024 are alike.
_INT8_PACK: Final = 2 * ROWS
#: Texts tokenised and sorted at a time: while a GPU computes the vectors of some, the next are made ready.
_SLICE: Final = 4_096

Rows = Sequence[NDArray[np.int32]]
Item = TypeVar("Item")


def encode_texts(encoder: TextEncoder, tokens: Tokens, texts: Sequence[str]) -> NDArray[np.float16]:
    """Vectors float16 [n, width] of texts. A row may hold non-finite values."""
    return _encode_all(encoder, map(tokens.encode, _slices(texts)), len(texts))


def encode_rows(encoder: TextEncoder, rows: Rows) -> NDArray[np.float16]:
    """The same of token ids, each [1..]."""
    return _encode_all(encoder, _slices(rows), len(rows))


def _slices(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    for start in range(0, len(items), _SLICE):
        yield items[start : start + _SLICE]


def _encode_all(encoder: TextEncoder, slices: Iterable[Rows], count: int) -> NDArray[np.float16]:
    device = next(encoder.parameters()).device
    out = np.empty((count, encoder.width), np.float16)
    with _inference(encoder):
        for places, vectors in returned(_vectors(encoder, slices, device), device):
            out[places] = vectors.numpy()
    return out


def _vectors(
    encoder: TextEncoder, slices: Iterable[Rows], device: torch.device
) -> Iterator[tuple[NDArray[np.intp], Tensor]]:
    """Places in the output and vectors, of one pack after the other; on a GPU they may be under way yet."""
    start = 0
    for rows in slices:
        lengths = np.array([len(row) for row in rows])
        order = np.argsort(lengths, kind="stable")
        ids = to_device(torch.from_numpy(np.concatenate([rows[i] for i in order])), device).long()
        packs = _cut(ids, lengths[order], _INT8_PACK if encoder.numerics == "int8" else _PACK[device.type])
        on_cpu = device.type == "cpu"
        at = 0
        for vectors in _side_by_side(encoder, packs) if on_cpu else (_encode(encoder, *p) for p in packs):
            yield start + order[at : at + len(vectors)], vectors
            at += len(vectors)
        start += len(rows)


def _side_by_side(encoder: TextEncoder, cut: Iterable[tuple[Tensor, list[int]]]) -> list[Tensor]:
    """Each core takes a pack through all layers: were every operation shared out among the cores, they would
    wait for each other at each of them, and for whatever else the machine has to do. (One text through a
    small BERT, on a busy machine: 3.7 ms on one core, 86 on two.)
    """
    threads = torch.get_num_threads()
    packs = list(cut)

    def encode(pack: tuple[Tensor, list[int]]) -> Tensor:
        with torch.inference_mode():  # each thread has its own
            return _encode(encoder, *pack)

    torch.set_num_threads(1)  # of operations begun here and in threads begun from now on
    try:
        if len(packs) == 1 or threads == 1:
            return [encode(pack) for pack in packs]
        with ThreadPoolExecutor(threads, "encode") as pool:
            return list(pool.map(encode, packs))
    finally:
        torch.set_num_threads(threads)


def _cut(ids: Tensor, lengths: NDArray[np.int64], budget: int) -> Iterator[tuple[Tensor, list[int]]]:
    """Packs: token ids end to end, and their texts' lengths."""
    start = 0
    for pack in packs_of(lengths, budget):
        yield ids[start : start + sum(pack)], pack
        start += sum(pack)


def _encode(encoder: TextEncoder, ids: Tensor, lengths: Sequence[int]) -> Tensor:
    """Vectors [n, width] of one pack, in halves where memory does not suffice."""
    try:
        return encoder.packed(ids, lengths).to(torch.float16)
    except torch.OutOfMemoryError:
        if len(lengths) == 1:
            raise
    half = len(lengths) // 2  # out of the handler: its traceback holds on to what was allocated
    cut = sum(lengths[:half])
    return torch.cat(
        [_encode(encoder, ids[:cut], lengths[:half]), _encode(encoder, ids[cut:], lengths[half:])]
    )


def packs_of(lengths: Sequence[int] | NDArray[np.int64], budget: int) -> Iterator[list[int]]:
    """Ascending lengths in packs of at most `budget` tokens (or of one text)."""
    pack: list[int] = []
    total = 0
    for length in map(int, lengths):
        if pack and total + length > budget:
            yield pack
            pack, total = [], 0
        pack.append(length)
        total += length
    if pack:
        yield pack


def encoder_fingerprint(encoder: TextEncoder, tokens: Tokens, numerics: str) -> str:
    """Names everything that the vectors depend on of an encoder in float32 that is run in this arithmetic,
    whose own weights may be where nobody can read them (packed for a processor).
    """
    digest = sha256(f"{tokens.tokenizer.to_str()}{tokens.max_tokens}{numerics}".encode())
    for name, value in sorted(encoder.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


@contextmanager
def _inference(encoder: TextEncoder) -> Iterator[None]:
    was_training = encoder.training
    if was_training:  # each of the two walks over all modules: for a few texts, a tenth of the time
        encoder.eval()
    with torch.inference_mode():
        yield
    if was_training:
        encoder.train()
