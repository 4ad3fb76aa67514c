"""What only a GPU can show: its kernels. All other tests run the same code on a CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from models.devices import returned
from models.recipe import Transformer
from models.text.encode import encode_rows
from models.text.numerics import with_numerics
from models.text.tokens import Tokens, learn_wordpiece
from models.text.transformer import TransformerText, small_bert

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

GPU = torch.device("cuda")
CONFIG = Transformer(layers=3, width=128)


def test_vectors_are_those_of_a_cpu_whatever_they_are_packed_with() -> None:
    torch.manual_seed(0)
    exact = TransformerText(CONFIG, small_bert(CONFIG, 300)).eval()
    tokens = Tokens(learn_wordpiece([f"word{i} of the many words" for i in range(200)], 300), 128)
    rng = np.random.default_rng(0)
    rows = [rng.integers(5, 300, size=n).astype(np.int32) for n in rng.integers(1, 128, 400)]
    wanted = encode_rows(exact, rows).astype(np.float32)
    quick = with_numerics(exact.to(GPU), tokens)
    assert quick.numerics == "bf16"
    together = encode_rows(quick, rows)
    cosines = (wanted * together).sum(1) / (np.linalg.norm(wanted, axis=1) * np.linalg.norm(together, axis=1))
    assert cosines.min() > 0.999
    order = rng.permutation(len(rows))
    for part in np.array_split(order, [1, 2, 9, 50, 200]):
        shuffled = encode_rows(quick, [rows[i] for i in part])
        np.testing.assert_allclose(shuffled, together[part], rtol=1e-3, atol=1e-4)


def test_results_come_back_in_order() -> None:
    parts = ((i, torch.full((1_000, 100), i, device=GPU)) for i in range(100))
    for number, (tag, part) in enumerate(returned(parts, GPU)):
        assert tag == number
        assert part.device.type == "cpu"
        assert part.eq(number).all()
