"""Our BERT against the library's, weights and all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.utils.tqdm import are_progress_bars_disabled
from tokenizers import Tokenizer
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast
from transformers.utils.logging import enable_progress_bar

from models.events import Tweet
from models.recipe import ModelConfig, RecipeError, Transformer
from models.text.base import groups_of
from models.text.bert import Bert, shape_of
from models.text.prepare import check_of
from models.text.pretrained import load_pretrained
from models.text.tokens import learn_wordpiece
from models.text.transformer import TransformerText, small_bert

WORDS = 120
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
OWN = {
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "electra": TINY | {"embedding_size": 16},
}
KINDS = ["bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"]


def library_model(kind: str, **others: Any) -> Any:
    torch.manual_seed(0)
    settings = AutoConfig.for_model(kind, vocab_size=WORDS, **(OWN.get(kind, TINY) | others))
    model = AutoModel.from_config(settings).eval()
    with torch.no_grad():  # as it starts, every bias is 0 and every norm does nothing
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def saved(model: Any, folder: Path) -> str:
    tokenizer: Tokenizer = learn_wordpiece([f"word{i} of many words" for i in range(50)], WORDS)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]").save_pretrained(folder)
    model.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_states_are_those_of_the_library(kind: str, tmp_path: Path) -> None:
    model = library_model(kind)
    pretrained = load_pretrained(saved(model, tmp_path))
    encoder = TransformerText(Transformer(), pretrained.architecture).eval()
    encoder.encoder.load_state_dict(pretrained.weights)
    ours = encoder.encoder
    assert isinstance(ours, Bert)

    lengths = [2, 5, 5, 9]
    mask = torch.arange(9) < torch.tensor(lengths)[:, None]
    # RoBERTa counts positions by looking for its padding id.
    ids = torch.randint(5, WORDS, (4, 9)).masked_fill(~mask, model.config.pad_token_id or 0)
    expected = model(input_ids=ids, attention_mask=mask).last_hidden_state[mask]
    torch.testing.assert_close(ours(ids, mask)[mask], expected, atol=1e-4, rtol=1e-4)
    found = ours.packed(ids[mask], list(groups_of(lengths)))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)

    again = TransformerText(Transformer(), encoder.architecture)  # as a bundle would build it
    again.load_state_dict(encoder.state_dict())


def test_the_library_shows_no_bar_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = saved(library_model("bert"), tmp_path)
    enable_progress_bar()
    capsys.readouterr()
    load_pretrained(source)
    assert not any(capsys.readouterr())
    assert not are_progress_bars_disabled()  # of downloads


@pytest.mark.parametrize("error", [OSError("no such id"), RuntimeError("the client has been closed")])
def test_a_hub_out_of_reach_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("models.text.pretrained.AutoModel.from_pretrained", fail)
    with pytest.raises(RecipeError, match=r"'rnn' can't be loaded: .*an id of a hub that can be reached"):
        load_pretrained("rnn")


def test_what_is_no_bert_is_left_to_the_library(tmp_path: Path) -> None:
    assert shape_of({"model_type": "albert"}) is None
    assert shape_of({"model_type": "bert", "hidden_act": "relu"}) is None
    with pytest.raises(ValueError, match="num_hidden_layers"):
        shape_of({"num_hidden_layers": "six"})
    model = library_model("bert", hidden_act="relu")
    pretrained = load_pretrained(saved(model, tmp_path))
    encoder = TransformerText(Transformer(), pretrained.architecture).eval()
    encoder.encoder.load_state_dict(pretrained.weights)
    assert not encoder.packable
    ids, mask = torch.tensor([[5, 6, 7]]), torch.ones(1, 3, dtype=torch.bool)
    with torch.inference_mode():
        expected = model(input_ids=ids, attention_mask=mask).last_hidden_state.mean(1)
        torch.testing.assert_close(encoder(ids, mask), expected, atol=1e-5, rtol=1e-4)


def test_it_starts_small_and_drops_out_only_in_training() -> None:
    torch.manual_seed(0)
    encoder = TransformerText(Transformer(), small_bert(Transformer(), WORDS))
    weight = encoder.get_parameter("encoder.layer.0.up.weight")
    assert 0.015 < weight.std() < 0.025
    assert not encoder.get_parameter("encoder.layer.0.up.bias").any()
    ids, mask = torch.randint(5, WORDS, (2, 7)), torch.ones(2, 7, dtype=torch.bool)
    assert not torch.equal(encoder(ids, mask), encoder(ids, mask))
    encoder.eval()
    assert torch.equal(encoder(ids, mask), encoder(ids, mask))


def test_a_bert_needs_no_transformers() -> None:
    """Importing it takes 3 seconds of a worker's start, 7 without Python's bytecode at hand."""
    script = (
        "import sys; from models.text.encoders import build_text; from models.recipe import Transformer\n"
        "build_text(Transformer(), 100, {})\n"
        "assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_own_ids_of_a_pretrained_tokeniser_are_checked_before_it_is_trained(tmp_path: Path) -> None:
    source = saved(library_model("bert"), tmp_path)
    entries = load_pretrained(source).tokenizer.get_vocab_size()
    check = check_of(ModelConfig(text=Transformer(source=source)))

    def tweet(*ids: int) -> Tweet:
        return Tweet(tweet_id="1", author_id="a", created_at=1, text_tokens=list(ids))

    assert check(tweet(5, entries - 1)) is None
    assert check(tweet(5, entries)) == f"token id {entries} is out of the vocabulary of {entries} entries"
    unread = check_of(ModelConfig(text=Transformer(source="nowhere/at-all")))
    assert unread(Tweet(tweet_id="1", author_id="a", created_at=1, text="no ids")) is None
