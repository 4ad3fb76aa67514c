"""What every text encoder must do, and what the LSTM and the convolutions are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, dropout, pad, relu

from models.recipe import Bag, Cnn, Lstm, TextConfig, Transformer
from models.text.base import TextEncoder
from models.text.cnn import CnnText
from models.text.encode import encode_rows
from models.text.encoders import build_text
from models.text.lstm import LstmText
from models.text.tokens import Tokens, learn_words

LSTM = Lstm(embedding=8, units=6)
CNN = Cnn(embedding=8, filters=5)
ALL = [Bag(width=8), Transformer(layers=1, width=32), LSTM, CNN]
WORDS = 50


def build(config: TextConfig) -> TextEncoder:
    torch.manual_seed(0)
    return build_text(config, WORDS, {}).eval()


def batch(*lengths: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)
    return torch.randint(5, WORDS, mask.shape) * mask, mask


@pytest.mark.parametrize("config", ALL, ids=lambda config: type(config).__name__)
@torch.inference_mode()
def test_a_vector_depends_on_its_own_text_alone(config: TextConfig) -> None:
    encoder = build(config)
    lengths = [1, 9, 3, 30, 2, 3, 17]
    ids, mask = batch(*lengths)
    together = encoder(ids, mask)
    assert together.shape == (7, encoder.width)
    for i, length in enumerate(lengths):
        alone = encoder(ids[i : i + 1, :length], mask[i : i + 1, :length])
        torch.testing.assert_close(alone[0], together[i], atol=1e-4, rtol=0)
    order = torch.randperm(7)
    shuffled = encoder(pad(ids[order], (0, 11), value=3), pad(mask[order], (0, 11)))  # padded with a word
    torch.testing.assert_close(shuffled, together[order], atol=1e-4, rtol=0)
    assert torch.pdist(together).min() > 1e-2


@pytest.mark.parametrize("config", ALL, ids=lambda config: type(config).__name__)
def test_a_few_steps_lower_the_loss(config: TextConfig) -> None:
    """Texts with word 7 in them against texts without."""
    encoder = build(config).train()
    head = nn.Linear(encoder.width, 1)
    ids, mask = batch(*([8] * 64))
    ids[::2, 3], ids[1::2][ids[1::2] == 7] = 7, 8
    labels = (ids == 7).any(1, keepdim=True).float()
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], 1e-2)
    losses = []
    for _ in range(60):
        loss = nn.functional.binary_cross_entropy_with_logits(head(encoder(ids, mask)), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("config", [LSTM, CNN], ids=["lstm", "cnn"])
def test_it_works_in_bfloat16_too(config: TextConfig) -> None:
    encoder = build(config)
    ids, mask = batch(1, 9, 3)
    exact = encoder(ids, mask)
    for mode in (False, True):
        encoder.train(mode)
        with torch.autocast("cpu", torch.bfloat16):
            encoder(ids, mask).float().sum().backward()
    encoder.eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(encoder(ids, mask).float(), exact.detach(), atol=3e-2, rtol=0)


def test_without_dropout_both_paths_of_the_lstm_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = build(LSTM)
    ids, mask = batch(4, 1, 12, 4)
    fast = encoder(ids, mask)
    fast.sum().backward()
    gradients = [parameter.grad.clone() for parameter in encoder.parameters() if parameter.grad is not None]
    encoder.zero_grad()
    monkeypatch.setattr("models.text.lstm.dropout", lambda values, _rate: values)
    stepwise = encoder.train()(ids, mask)
    torch.testing.assert_close(stepwise, fast)
    stepwise.sum().backward()
    for mine, theirs in zip(encoder.parameters(), gradients, strict=True):
        torch.testing.assert_close(mine.grad, theirs, atol=1e-5, rtol=1e-4)


def test_the_lstm_drops_the_same_parts_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a cell that is fed word by word, with one mask of the inputs and one of the state a text."""
    config = Lstm(embedding=8, units=6, dropout=0.5, recurrent_dropout=0.4)
    encoder = build(config).train()
    assert isinstance(encoder, LstmText)
    masks: dict[float, Tensor] = {}

    def noting(values: Tensor, rate: float) -> Tensor:
        return masks.setdefault(rate, dropout(values, rate))

    monkeypatch.setattr("models.text.lstm.dropout", noting)
    lengths = (9, 5, 2)  # from the longest down, as the masks are
    ids, mask = batch(*lengths)
    found = encoder(ids, mask)
    cell = nn.LSTMCell(8, 6)
    for mine, theirs in zip(cell.parameters(), encoder.lstm.parameters(), strict=True):
        mine.data = theirs.data
    assert [tuple(masks[rate].shape) for rate in (0.5, 0.4)] == [(3, 8), (3, 6)]
    for i, length in enumerate(lengths):
        state = memory = torch.zeros(6)
        for word in ids[i, :length]:
            state, memory = cell(encoder.embedding(word) * masks[0.5][i], (state * masks[0.4][i], memory))
        torch.testing.assert_close(found[i], state)
    kept = torch.stack([masks[0.4][i] > 0 for i in range(3)])
    assert kept.any()
    assert not kept.all()


def test_the_convolutions_are_those_of_a_padded_text() -> None:
    encoder = build(CNN)
    assert isinstance(encoder, CnnText)
    lengths = (1, 2, 12)
    ids, mask = batch(*lengths)
    with torch.no_grad():
        encoder.bias.uniform_(-1, 1)
        for i, length in enumerate(lengths):
            words = pad(encoder.embedding(ids[i, :length]).T, (4, 4))
            expected = []
            for window, filters in zip(CNN.windows, encoder.filters, strict=True):
                assert isinstance(filters, nn.Linear)
                weight = filters.weight.view(window, CNN.filters, -1).permute(1, 2, 0)
                expected.append(conv1d(words.unsqueeze(0), weight)[0].amax(1))
            found = encoder(ids[i : i + 1, :length], mask[i : i + 1, :length])[0]
            torch.testing.assert_close(found, relu(torch.cat(expected) + encoder.bias), atol=1e-5, rtol=1e-4)


def test_dropout_is_off_when_serving() -> None:
    tokens = Tokens(learn_words(["a few words of a text"] * 2, WORDS), 8)
    rows = tokens.encode(["a text", "words"])
    for config in (LSTM, CNN):
        encoder = build(config).train()
        first, second = encode_rows(encoder, rows), encode_rows(encoder, rows)
        assert (first == second).all()
        assert encoder.training
        assert not torch.equal(encoder(*tokens.pad_batch(rows)), encoder(*tokens.pad_batch(rows)))
