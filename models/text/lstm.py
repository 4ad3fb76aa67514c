"""An LSTM over words as a text encoder.

Knows nothing of where words come from (`models.text.tokens`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from models.recipe import Lstm
from models.text.base import TextEncoder


class LstmText(TextEncoder):
    """The state after a text's last word.

    Dropout is that of Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent
    neural networks", 2016: one mask of the inputs and one of the state a text, the same at all of its steps.
    """

    def __init__(self, config: Lstm, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(vocabulary, config.embedding)
        self.lstm = nn.LSTM(config.embedding, config.units, batch_first=True)
        self.width = config.units
        self.architecture = {}

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids int64 [n, l] and mask bool [n, l] to vectors [n, width]."""
        # Packed: a text goes as many steps as it has words, whatever the longest beside it.
        words = pack_padded_sequence(ids, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
        # Whole precision: rounding would add up over the steps.
        with torch.autocast(ids.device.type, enabled=False):
            if self.training and (self.config.dropout or self.config.recurrent_dropout):
                return self._masked(words)
            _, (state, _) = self.lstm(words._replace(data=self.embedding(words.data)))
            out: Tensor = state[0]
            return out

    def _masked(self, words: PackedSequence) -> Tensor:
        """The same with dropout, which the library's kernel does not have."""
        counts = words.batch_sizes.tolist()  # texts that have a word at each step
        n, units = counts[0], self.config.units
        ones = self.embedding.weight.new_ones
        inputs = dropout(ones(n, self.config.embedding), self.config.dropout)
        kept = dropout(ones(n, units), self.config.recurrent_dropout)
        data = self.embedding(words.data) * torch.cat([inputs[:count] for count in counts])
        weight_in, weight_state, bias_in, bias_state = self.lstm.all_weights[0]
        steps = torch.split(linear(data, weight_in, bias_in + bias_state), counts)
        state = memory = data.new_zeros(n, units)
        ended: list[Tensor] = []
        for count, step in zip(counts, steps, strict=True):
            ended.append(state[count:])
            gates = torch.addmm(step, state[:count] * kept[:count], weight_state.t())
            take, forget, fresh, show = gates.chunk(4, 1)
            memory = forget.sigmoid() * memory[:count] + take.sigmoid() * fresh.tanh()
            state = show.sigmoid() * memory.tanh()
        ended.append(state)
        assert words.unsorted_indices is not None  # until here from the longest text down
        return torch.cat(ended[::-1])[words.unsorted_indices]
