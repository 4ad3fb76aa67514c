"""Packing, the arithmetic of encoders, and that no text's vector knows its neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import AutoConfig

from models.devices import DeviceError
from models.recipe import Bag, Cnn, Lstm, TextConfig, Transformer
from models.text import bert, encode, numerics
from models.text.base import TextEncoder, groups_of
from models.text.bf16 import multiplies_bfloat16
from models.text.encode import encode_rows, encode_texts, encoder_fingerprint, packs_of
from models.text.encoders import build_text
from models.text.int8 import Int8Linear
from models.text.int8_text import Int8Text
from models.text.narrow import NarrowText
from models.text.numerics import Numerics, with_numerics
from models.text.tokens import Tokens, learn_wordpiece

WORDS = 300
WIDE = Transformer(layers=2, width=256)
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
DISTIL = {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
#: What this machine can do.
ARITHMETICS: list[Numerics] = ["fp32", "int8"]
if multiplies_bfloat16():
    ARITHMETICS.append("bf16")
FAMILIES = ["bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta", "albert", "mpnet"]


def build(config: TextConfig, kind: str = "") -> TextEncoder:
    torch.manual_seed(0)
    own = DISTIL if kind == "distilbert" else TINY
    architecture = AutoConfig.for_model(kind, vocab_size=WORDS, **own).to_dict() if kind else {}
    return build_text(config, WORDS, architecture).eval()


def rows(*lengths: int) -> list[NDArray[np.int32]]:
    rng = np.random.default_rng(1)
    return [rng.integers(5, WORDS, size=length).astype(np.int32) for length in lengths]


def tokens() -> Tokens:
    texts = [f"word{i} another{i % 7} of the many words" for i in range(200)]
    return Tokens(learn_wordpiece(texts, WORDS), 32)


@given(st.lists(st.integers(1, 40), max_size=50).map(sorted), st.integers(1, 100))
def test_packs_hold_everything_in_order_and_keep_the_budget(lengths: list[int], budget: int) -> None:
    packs = list(packs_of(lengths, budget))
    assert [length for pack in packs for length in pack] == lengths
    assert all(len(pack) == 1 or sum(pack) <= budget for pack in packs)
    groups = list(groups_of(lengths))
    assert [g.length for g in groups for _ in range(g.texts)] == lengths
    assert [g.start for g in groups[1:]] == [g.end for g in groups[:-1]]


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("kind", FAMILIES)
@torch.inference_mode()
def test_a_pack_is_what_padding_would_give(kind: str, pooling: str) -> None:
    encoder = build(Transformer(pooling="cls" if pooling == "cls" else "mean"), kind)
    lengths = [1, 3, 3, 7, 12]
    some = rows(*lengths)
    ids = torch.zeros(5, 12, dtype=torch.int64)
    for padded, row in zip(ids, some, strict=True):
        padded[: len(row)] = torch.from_numpy(row)
    mask = torch.arange(12) < torch.tensor(lengths)[:, None]
    expected = encoder(ids, mask)
    flat = torch.from_numpy(np.concatenate(some).astype(np.int64))
    torch.testing.assert_close(encoder.packed(flat, lengths), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ARITHMETICS)
def test_a_vector_is_the_same_whatever_it_is_packed_with(name: Numerics) -> None:
    """To a step of float16: Intel's MKL sums float32 in an order that depends on how many rows there are."""
    encoder = with_numerics(build(WIDE), tokens(), name)
    assert encoder.numerics == name
    rng = np.random.default_rng(0)
    some = rows(*rng.integers(1, 40, 60).tolist())
    together = encode_rows(encoder, some)
    order = rng.permutation(len(some))
    for part in np.array_split(order, 7):
        shuffled = encode_rows(encoder, [some[i] for i in part])
        np.testing.assert_allclose(shuffled, together[part], rtol=1e-3, atol=1e-4)
    for i in range(5):
        np.testing.assert_allclose(encode_rows(encoder, [some[i]])[0], together[i], rtol=1e-3, atol=1e-4)
    assert len(np.unique(together, axis=0)) == len(some)


def test_integers_keep_the_vectors_and_are_not_the_same() -> None:
    exact = build(WIDE)
    some = rows(*range(4, 36))
    truth = encode_rows(exact, some)
    for name in ARITHMETICS[1:]:
        quick = with_numerics(exact, tokens(), name)
        cosines = numerics._cosines(encode_rows(quick, some), truth)
        assert 0.99 < cosines.min() < 1
    assert exact.numerics == "fp32"
    np.testing.assert_array_equal(encode_rows(exact, some), truth)  # a copy was converted


def test_auto_takes_the_first_that_keeps_the_vectors(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": True, "avx512_bf16": True})
    caplog.set_level("INFO")
    exact = build(WIDE)
    assert with_numerics(exact, tokens()).numerics == "int8"
    assert "int8: cosine to float32" in caplog.text

    made = numerics._made

    def bad(encoder: TextEncoder, name: Numerics) -> TextEncoder:
        out = made(encoder, "int8")  # any that keeps the vectors: not all processors multiply bfloat16
        out.numerics = name
        if name == "int8":
            assert isinstance(out, Int8Text)
            for layer in out.layers:
                layer.up.scale *= -100
        return out

    monkeypatch.setattr(numerics, "_made", bad)
    assert with_numerics(exact, tokens()).numerics == "bf16"
    assert "not good enough" in caplog.text
    monkeypatch.setattr(numerics, "_MEAN_COSINE", 1.1)
    assert with_numerics(exact, tokens()) is exact


def test_auto_stays_exact_where_nothing_is_won(monkeypatch: pytest.MonkeyPatch) -> None:
    either: tuple[Numerics, ...] = ("auto", "fp32")
    for name in either:
        small = with_numerics(build(Transformer(layers=1, width=32)), tokens(), name)
        assert (type(small), small.numerics) == (NarrowText, "fp32")
    for config in (Bag(width=8), Lstm(embedding=8, units=6), Cnn(embedding=8, filters=5)):
        other = build(config)
        assert with_numerics(other, tokens(), "int8") is other
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    wide = build(WIDE)
    assert with_numerics(wide, tokens()) is wide


@pytest.mark.parametrize(
    ("features", "taken"),
    [
        (["amx_bf16", "amx_int8", "avx512_vnni", "avx512_bf16"], ["bf16", "int8"]),
        (["avx512_vnni", "avx512_bf16"], ["int8", "bf16"]),
        (["avx512_bf16", "avx2"], ["bf16", "int8"]),
        (["avx2"], ["int8"]),
        (["sse4_2"], []),
    ],
)
def test_what_the_processor_has_decides(
    features: list[str], taken: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(features, True))
    assert numerics._quick(build(WIDE)) == taken


def test_what_a_device_cannot_compute_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numerics, "multiplies_bfloat16", lambda: False)
    with pytest.raises(
        DeviceError, match="bf16: this processor can't multiply it; choose auto, int8 or fp32"
    ):
        with_numerics(build(WIDE), tokens(), "bf16")
    numerics.require("bf16", torch.device("cuda"))
    with pytest.raises(DeviceError, match="int8: for CPUs only, and the device is cuda"):
        numerics.require("int8", torch.device("cuda"))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="numerics int8: torch has no oneDNN"):
        numerics.require("int8", torch.device("cpu"))
    bag = build(Bag(width=8))
    assert with_numerics(bag, tokens(), "bf16") is bag


def test_packs_side_by_side_are_those_of_one_core() -> None:
    encoder = build(WIDE)
    some = rows(*range(1, 60))
    assert sum(map(len, some)) > 3 * bert.ROWS
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = encode_rows(encoder, some)
        torch.set_num_threads(3)
        np.testing.assert_allclose(encode_rows(encoder, some), alone, rtol=1e-3, atol=1e-4)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)


@torch.inference_mode()
def test_products_are_always_of_a_multiple_of_rows() -> None:
    """oneDNN compiles one for each number of rows: new ones with every pack took four fifths of the time."""
    encoder = build(WIDE)
    seen: set[int] = set()
    for part in encoder.modules():
        if isinstance(part, nn.Linear):
            part.register_forward_hook(lambda _, given, __: seen.add(len(given[0])))
    for length in range(1, 128, 9):
        encoder.packed(torch.ones(2 * length, dtype=torch.int64), [length, length])
    assert seen == {bert.ROWS}


@torch.inference_mode()
def test_so_are_those_of_integers(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = with_numerics(build(WIDE), tokens(), "int8")
    seen: set[int] = set()
    products = Int8Linear.products

    def noted(self: Int8Linear, codes: NDArray[np.uint8]) -> NDArray[np.float32]:
        seen.add(len(codes))
        return products(self, codes)

    monkeypatch.setattr(Int8Linear, "products", noted)
    for length in range(1, 128, 9):
        encoder.packed(torch.ones(2 * length, dtype=torch.int64), [length, length])
    assert seen == {64, 128, 192, 256}


def test_the_arithmetic_is_part_of_the_fingerprint() -> None:
    exact, vocabulary = build(WIDE), tokens()
    found = {
        name: encoder_fingerprint(exact, vocabulary, with_numerics(exact, vocabulary, name).numerics)
        for name in ARITHMETICS
    }
    assert len(set(found.values())) == len(ARITHMETICS)
    assert encoder_fingerprint(exact, vocabulary, "int8") == found["int8"]


def test_every_weight_is_part_of_the_fingerprint() -> None:
    encoder, vocabulary = build(WIDE), tokens()
    seen = {encoder_fingerprint(encoder, vocabulary, "int8")}
    for _, weight in encoder.named_parameters():
        with torch.no_grad():
            weight.view(-1)[0] += 1
        seen.add(encoder_fingerprint(encoder, vocabulary, "int8"))
    assert len(seen) == 1 + len(list(encoder.parameters()))


class Cramped(TextEncoder):
    """Has room for `room` tokens; a vector is the sum of its text's ids."""

    width = 1

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.packs = room, 0
        self.unused = nn.Parameter(torch.zeros(1))

    def packed(self, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        if len(ids) > self.room:
            raise torch.OutOfMemoryError
        self.packs += 1
        return torch.stack([part.sum(0, keepdim=True).float() for part in torch.split(ids, list(lengths))])


def test_a_pack_that_does_not_fit_goes_in_halves() -> None:
    some = rows(9, 2, 5, 1, 7, 7)
    sums = [[float(row.sum())] for row in some]
    assert encode_rows(Cramped(1000), some).tolist() == sums
    cramped = Cramped(10)
    assert encode_rows(cramped, some).tolist() == sums
    assert cramped.packs > 2
    with pytest.raises(torch.OutOfMemoryError):
        encode_rows(Cramped(8), some)


def test_slices_and_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, vocabulary = build(Bag(width=8)), tokens()
    texts = [f"word{i} {'of ' * (i % 5)}" for i in range(11)]
    whole = encode_texts(encoder, vocabulary, texts)
    monkeypatch.setattr(encode, "_SLICE", 3)
    np.testing.assert_array_equal(encode_texts(encoder, vocabulary, texts), whole)
    assert encode_texts(encoder, vocabulary, []).shape == (0, 8)
    assert encode_rows(encoder, []).shape == (0, 8)


def test_what_is_not_finite_stays_with_its_text() -> None:
    encoder = build(WIDE)
    with torch.no_grad():
        encoder.get_parameter("encoder.embeddings.words.weight")[7] = float("nan")
    for name in ARITHMETICS:
        quick = with_numerics(encoder, tokens(), name)
        some = [np.array(row, np.int32) for row in ([5, 6], [7, 8], [9, 10, 11])]
        finite = np.isfinite(encode_rows(quick, some)).all(1)
        assert finite.tolist() == [True, False, True]
