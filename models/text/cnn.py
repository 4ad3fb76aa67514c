"""A convolutional network over words as a text encoder.

Knows nothing of where words come from (`models.text.tokens`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag, pad, relu

from models.dropout import Dropout
from models.recipe import Cnn
from models.text.base import TextEncoder


class CnnText(TextEncoder):
    """The largest answer of each filter over a text.

    Kim, "Convolutional neural networks for sentence classification", 2014: filters of several windows, and
    before and after a text as many empty words as let the widest see its first and last word alone.
    """

    def __init__(self, config: Cnn, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(vocabulary, config.embedding)
        self.filters = nn.ModuleList(
            nn.Linear(config.embedding, window * config.filters, bias=False) for window in config.windows
        )
        self.width = config.filters * len(config.windows)
        self.bias = nn.Parameter(torch.zeros(self.width))
        self.dropout = Dropout(config.dropout)
        self.architecture = {}

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids int64 [n, l] and mask bool [n, l] to vectors [n, width].

        What a filter makes of a word at each of its places is computed once for all occurrences of the word,
        and a window is a sum of such rows. The texts lie end to end with a gap of empty words between them.
        With gradients that takes a sixth of the time of convolutions over padded texts.
        """
        gap = max(self.config.windows) - 1
        windows = mask.sum(1) + gap  # of each text
        inside = torch.arange(mask.shape[1] + gap, device=mask.device) < windows.unsqueeze(1)
        row = pad(torch.where(mask, ids + 1, 0), (0, gap))[inside]  # 0 is the empty word
        words, row = torch.unique(pad(row, (gap, 0)), return_inverse=True)
        known = self.embedding((words - 1).clamp_min(0)) * (words > 0).unsqueeze(1)
        answers = []
        for window, filters in zip(self.config.windows, self.filters, strict=True):
            parts = filters(known).view(-1, self.config.filters)  # a row for each word and place
            rows = row[gap - window + 1 :].unfold(0, window, 1) * window
            rows = rows + torch.arange(window, device=rows.device)
            answers.append(embedding_bag(rows, parts, mode="sum"))
        best = torch.segment_reduce(torch.cat(answers, 1), "max", lengths=windows, unsafe=True)
        out: Tensor = self.dropout(relu(best + self.bias))
        return out
