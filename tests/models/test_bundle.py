from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from models.bundle import Bundle, BundleError
from models.manifest import seal
from tests.models.tiny import BERT, CNN, LSTM, tiny_bundle, tiny_config


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    tiny_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.mark.parametrize(
    "config",
    [tiny_config(), tiny_config(BERT), tiny_config(LSTM), tiny_config(CNN)],
    ids=["bag", "bert", "lstm", "cnn"],
)
def test_what_is_saved_comes_back(tmp_path: Path, config: object) -> None:
    fingerprint = tiny_bundle(tmp_path / "a", config=config, source=["[PAD]", "a", "##b"])  # type: ignore[arg-type]
    loaded = Bundle.from_pretrained(tmp_path / "a")
    assert loaded.fingerprint == fingerprint
    assert loaded.tokens.source == ("[PAD]", "a", "##b")
    assert loaded.save_pretrained(tmp_path / "b") == fingerprint
    assert not any(path.suffix in (".pt", ".bin", ".pkl") for path in (tmp_path / "b").iterdir())


def test_other_weights_have_another_fingerprint(tmp_path: Path) -> None:
    assert tiny_bundle(tmp_path / "a", seed=0) == tiny_bundle(tmp_path / "b", seed=0)
    assert tiny_bundle(tmp_path / "a", seed=0) != tiny_bundle(tmp_path / "c", seed=1)


def test_no_folder_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json is missing"):
        Bundle.from_pretrained(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "calibration.json"])
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        Bundle.from_pretrained(bundle)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "calibration.json"])
def test_changed_bytes_are_noticed(bundle: Path, name: str) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[len(data) // 2] ^= 1
    (bundle / name).write_bytes(bytes(data))
    with pytest.raises(BundleError, match=f"{name} was changed"):
        Bundle.from_pretrained(bundle)


def reseal(bundle: Path) -> None:
    """Write a manifest that fits, as somebody who tinkers with a bundle would."""
    seal(bundle, msgspec.json.decode((bundle / "manifest.json").read_bytes()))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("version", 99, "version 99"),
        ("format", "another", "format 'another'"),
        ("pair_features", ["x"], "other pair_features"),
        ("surprise", 1, "surprise"),
        ("heads", ["retweet"], "does not fit"),
    ],
)
def test_a_foreign_config_is_refused(bundle: Path, key: str, value: object, message: str) -> None:
    config = msgspec.json.decode((bundle / "config.json").read_bytes())
    (bundle / "config.json").write_bytes(msgspec.json.encode(config | {key: value}))
    reseal(bundle)
    with pytest.raises(BundleError, match=message) as caught:
        Bundle.from_pretrained(bundle)
    assert "\n" not in str(caught.value)


def test_weights_of_another_shape_are_refused(bundle: Path) -> None:
    weights = load_file(bundle / "model.safetensors")
    save_file(weights | {"ranker.a.weight": torch.zeros(3, 3)}, bundle / "model.safetensors")
    reseal(bundle)
    with pytest.raises(BundleError, match="does not fit") as caught:
        Bundle.from_pretrained(bundle)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("config", ['{"mine": 1}', "[]", None])
def test_files_of_others_are_left_alone(bundle: Path, tmp_path: Path, config: str | None) -> None:
    loaded, project = Bundle.from_pretrained(bundle), tmp_path / "project"
    project.mkdir()
    (project / "README.md").write_text("my project")
    if config is not None:
        (project / "config.json").write_text(config)
    before = {path.name: path.read_bytes() for path in project.iterdir()}
    with pytest.raises(BundleError, match=r"README.md.*: choose a folder that is empty or not there"):
        loaded.save_pretrained(project)
    assert {path.name: path.read_bytes() for path in project.iterdir()} == before


def test_folders_are_in_nobody_s_way(bundle: Path, tmp_path: Path) -> None:
    for name in (".training", "logs"):  # as a training that was cut off leaves them
        (tmp_path / "out" / name).mkdir(parents=True)
    assert Bundle.from_pretrained(bundle).save_pretrained(tmp_path / "out")


def test_a_save_that_is_cut_off_leaves_no_valid_bundle(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = Bundle.from_pretrained(bundle)
    monkeypatch.setattr("models.bundle.save_file", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        loaded.save_pretrained(bundle)
    with pytest.raises(BundleError):
        Bundle.from_pretrained(bundle)
