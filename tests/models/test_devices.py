from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.devices import DeviceError, pick_device
from models.evaluate import load_model
from models.processes import Processes
from tests.models.tiny import tiny_bundle


@pytest.mark.parametrize(
    ("name", "gpus", "message"),
    [
        ("cuda", 0, "device cuda: torch sees no GPU; choose auto or cpu"),
        ("cuda:1", 0, "device cuda:1: torch sees no GPU"),
        ("cuda:2", 2, "device cuda:2: torch sees 2 GPUs"),
        ("foo", 1, "no device is called 'foo'; choose auto, cpu, cuda or cuda:N"),
        ("cuda:x", 1, "no device is called 'cuda:x'"),
        ("", 1, "no device is called ''"),
    ],
)
def test_a_device_that_is_not_there_is_one_line(
    name: str, gpus: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    for pick in (pick_device, Processes):
        with pytest.raises(DeviceError) as caught:
            pick(name)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "gpus", "device"),
    [("auto", 0, "cpu"), ("auto", 1, "cuda"), ("cpu", 1, "cpu"), ("cuda:1", 2, "cuda:1")],
)
def test_a_device_that_is_there(name: str, gpus: int, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert pick_device(name) == torch.device(device)


def test_a_bundle_is_not_judged_on_another_device(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    with pytest.raises(DeviceError, match="'foo'"):
        load_model(tmp_path, "foo")
