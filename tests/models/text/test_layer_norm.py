"""The kernel, run by Triton's interpreter, and what happens where it can't be compiled."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from models.text import layer_norm

SCRIPT = """
import torch
from models.text.layer_norm_kernel import launch
for count, width in ((1, 64), (7, 100), (5, 768)):
    x, weight, bias = 3 * torch.randn(count, width) + 1, torch.randn(width), torch.randn(width)
    wanted = torch.nn.functional.layer_norm(x, (width,), weight, bias, 1e-5)
    for rows in (1, 2, 4):
        torch.testing.assert_close(launch(x, weight, bias, 1e-5, rows, 1), wanted)
    halves = [part.to(torch.bfloat16) for part in (x, weight, bias)]
    torch.testing.assert_close(launch(*halves, 1e-5, 2, 1).float(), wanted, atol=0.1, rtol=0.05)
"""


def test_the_kernel_is_a_layer_norm() -> None:
    pytest.importorskip("triton")
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, env={**os.environ, "TRITON_INTERPRET": "1"})


def test_where_it_fails_torch_s_own_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    """As here, where there is no GPU to compile it for."""
    assert layer_norm._tried(torch.device("cpu")) is layer_norm.torch_norm
    assert "texts take a tenth longer" in caplog.text


def test_a_cpu_does_not_try(caplog: pytest.LogCaptureFixture) -> None:
    norm = layer_norm.norm_for(torch.device("cpu"))
    assert not caplog.records
    x, module = torch.randn(3, 8), nn.LayerNorm(8)
    assert torch.equal(norm(x, module), module(x))
