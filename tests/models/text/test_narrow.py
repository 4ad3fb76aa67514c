"""The narrow BERT's loops against torch's layers."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
import torch

from models.recipe import Transformer
from models.text.encode import encode_rows
from models.text.narrow import NarrowText, is_narrow
from models.text.transformer import TransformerText

Pooling = Literal["cls", "mean"]

WORDS = 90
SHAPES: dict[str, dict[str, Any]] = {
    "one layer": {"num_hidden_layers": 1},
    "heads": {"num_attention_heads": 3},
    "odd": {"hidden_size": 18, "num_attention_heads": 2, "intermediate_size": 30},
    "electra": {"model_type": "electra", "embedding_size": 10},
    "distilbert": {"model_type": "distilbert", "dim": 24, "n_layers": 2, "n_heads": 2, "hidden_dim": 40},
    "roberta": {"model_type": "roberta", "pad_token_id": 1, "type_vocab_size": 1},
}


def build(shape: str = "heads", pooling: Pooling = "cls", **others: Any) -> TransformerText:
    torch.manual_seed(0)
    architecture = {
        "vocab_size": WORDS,
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 40,
        "max_position_embeddings": 40,
        **SHAPES[shape],
        **others,
    }
    out = TransformerText(Transformer(pooling=pooling), architecture).eval()
    for parameter in out.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.2)
    return out


def rows(*lengths: int) -> list[np.ndarray[tuple[int, ...], np.dtype[np.int32]]]:
    rng = np.random.default_rng(0)
    return [rng.integers(WORDS, size=length).astype(np.int32) for length in lengths]


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("shape", SHAPES)
def test_vectors_are_those_of_torch(shape: str, pooling: Pooling) -> None:
    exact = build(shape, pooling)
    assert is_narrow(exact)
    some = rows(1, 2, 3, 3, 4, 17, 30, 30)
    expected, found = encode_rows(exact, some), encode_rows(NarrowText(exact), some)
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-3)


def test_a_vector_is_the_same_to_the_last_bit_whatever_it_is_packed_with() -> None:
    quick = NarrowText(build())
    some = rows(*np.random.default_rng(1).integers(1, 30, 40).tolist())
    together = encode_rows(quick, some)
    for i in range(0, 40, 7):
        np.testing.assert_array_equal(encode_rows(quick, some[i : i + 3]), together[i : i + 3])


def test_padded_texts_are_as_packed_ones() -> None:
    exact = build()
    quick = NarrowText(exact)
    ids = torch.randint(WORDS, (3, 9))
    mask = torch.arange(9) < torch.tensor([[4], [9], [1]])
    with torch.inference_mode():
        torch.testing.assert_close(quick(ids, mask), exact(ids, mask), rtol=1e-3, atol=1e-4)


def test_it_keeps_the_weights_it_was_made_of_and_leaves_them_alone() -> None:
    exact = build().train()
    some = rows(5, 9)
    quick = NarrowText(exact)
    before = encode_rows(quick, some)
    assert exact.training
    assert all(parameter.requires_grad for parameter in exact.parameters())
    with torch.no_grad():
        for parameter in exact.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(encode_rows(quick, some), before)


def test_what_is_out_of_bounds_is_refused() -> None:
    quick = NarrowText(build())
    for wrong in (np.array([3, WORDS], np.int32), np.array([-1], np.int32), np.zeros(41, np.int32)):
        with pytest.raises(IndexError, match="vocabulary"):
            encode_rows(quick, [wrong])


def test_wide_and_padded_ones_are_not_narrow() -> None:
    assert not is_narrow(build("heads", hidden_size=256, num_attention_heads=2))
    assert not is_narrow(build("heads", model_type="bert", hidden_act="relu"))  # the library's, with padding
