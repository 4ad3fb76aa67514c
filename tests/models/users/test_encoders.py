"""What every user encoder must do, and what each of them is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from models.features import PROFILE_FEATURES
from models.recipe import Anybody, Attention, ProfileOnly, StarSpace, UserConfig
from models.state.decay import ACTION_INDEX
from models.state.user import WORDS
from models.users.attention import AttentionBlock
from models.users.base import Histories, UserEncoder, UserVectors
from models.users.encoders import build_user
from models.users.starspace import StarSpaceUser

D, AUTHOR, TASTE = 16, 4, 3
STARSPACE = StarSpace(interests=4, interest_width=4)
ALL: list[UserConfig] = [
    Attention(interests=4, interest_width=4),
    Attention(interests=4, interest_width=4, layers=2),
    STARSPACE,
    ProfileOnly(),
    Anybody(),
]
each = pytest.mark.parametrize("config", ALL, ids=lambda config: type(config).__name__)


def build(config: UserConfig, author_width: int = AUTHOR) -> UserEncoder:
    torch.manual_seed(0)
    return build_user(config, D, author_width, TASTE).eval()


def people(n: int = 9, m: int = 6, seed: int = 1) -> Histories:
    """Users of whom the first has no history and no profile, and the last a full one."""
    torch.manual_seed(seed)
    mask = torch.rand(n, m) < torch.linspace(0, 1.01, n).unsqueeze(1)
    words = torch.randint(1, 50, (n, WORDS)) * (torch.rand(n, WORDS) < 0.3)
    words[0] = 0
    return Histories(
        vectors=torch.randn(n, m, D) * mask.unsqueeze(-1),
        mask=mask,
        authors=torch.randint(1, 9, (n, m)),
        actions=torch.full((n, m), ACTION_INDEX["retweet"]),
        ages=torch.randint(0, 10**6, (n, m)),
        profile=torch.rand(n, len(PROFILE_FEATURES)),
        words=words,
        tastes=torch.randn(n, 2 * TASTE + 2),
        readers=torch.arange(n),
    )


def vectors(encoder: UserEncoder, users: Histories) -> UserVectors:
    torch.manual_seed(2)
    table = torch.randn(9, AUTHOR)
    found: UserVectors = encoder(users, table[users.authors])
    return found


def some(users: Histories, rows: Tensor | slice) -> Histories:
    return Histories(*(part[rows] for part in users))


@each
@torch.inference_mode()
def test_a_user_does_not_depend_on_the_others(config: UserConfig) -> None:
    encoder, users = build(config), people()
    together = vectors(encoder, users)
    assert together.loss is None
    assert together.vector.shape == (9, D)
    assert together.interests.shape == (9, config.interests, config.interest_width)
    order = torch.randperm(9)
    shuffled = vectors(encoder, some(users, order))
    for mine, theirs in zip(shuffled[:3], together[:3], strict=True):
        torch.testing.assert_close(mine, theirs[order], atol=1e-4, rtol=0)
    longest = some(users, slice(2, 3))
    alone = vectors(encoder, longest)
    torch.testing.assert_close(alone.vector[0], together.vector[2], atol=1e-4, rtol=0)


@each
def test_every_weight_learns(config: UserConfig) -> None:
    encoder, users = build(config), people()
    encoder.fit(users.profile)
    found = vectors(encoder.train(), users)
    target = (found.vector**2).sum() + found.interests.sum() + (found.loss or 0.0)
    if isinstance(config, Anybody):
        assert not list(encoder.parameters())
        return
    target.backward()  # type: ignore[no-untyped-call]
    without = {name for name, weight in encoder.named_parameters() if weight.grad is None}
    assert not without


def test_the_first_token_alone_is_what_it_is_among_all() -> None:
    torch.manual_seed(0)
    block = AttentionBlock(D, 4, dropout=0.2).eval()
    x, mask = torch.randn(9, 7, D), torch.rand(9, 7) < 0.5
    mask[:, 0] = True
    torch.testing.assert_close(block.first(x, mask), block(x, mask)[:, 0])


def test_a_reader_counts_for_as_much_as_there_was_to_learn_from() -> None:
    encoder = build(Attention(interests=4, interest_width=4, readers=32))
    row = torch.randn(D)
    with torch.no_grad():
        encoder.get_parameter("reader.embedding.weight").copy_(row.expand(32, -1))
    users = some(people(), torch.full((3,), 4))
    unmet = vectors(encoder, users._replace(readers=torch.tensor([0, 1, 2]))).vector
    assert torch.equal(unmet[1:], unmet[:1].expand(2, -1))
    encoder.meet(torch.tensor([2, 3]), torch.tensor([300, 40]))
    found = vectors(encoder, users._replace(readers=torch.tensor([1, 3, 2]))).vector
    assert torch.equal(found[0], unmet[0])
    little, much = (found[1:] - unmet[0]).abs().amax(1)
    assert 0 < little < much / 2


def test_readers_of_the_most_exposures_have_embeddings() -> None:
    encoder = build(Attention(interests=4, interest_width=4, readers=2))
    with torch.no_grad():
        encoder.get_parameter("reader.embedding.weight").copy_(torch.randn(2, D))
    encoder.meet(torch.tensor([2, 5, 7, 2**32 - 1]), torch.tensor([9, 400, 8, 300]))
    users = some(people(), torch.full((5,), 4))
    found = vectors(encoder, users._replace(readers=torch.tensor([0, 2, 5, 7, 2**32 - 1]))).vector
    assert torch.equal(found[1], found[0])
    assert torch.equal(found[3], found[0])
    assert torch.pdist(found[[0, 2, 4]]).min() > 0


def test_authors_may_have_no_embedding() -> None:
    encoder, users = build(Attention(), author_width=0), people()
    encoder(users, torch.zeros(9, 6, 0))


def test_a_profile_is_the_same_whatever_the_history() -> None:
    users = people()
    without = users._replace(mask=torch.zeros_like(users.mask))
    for config in (ProfileOnly(), Anybody()):
        assert torch.equal(vectors(build(config), users).vector, vectors(build(config), without).vector)
    found = vectors(build(ProfileOnly()), users)
    assert torch.pdist(found.vector).min() > 0.1
    assert not found.filled.any()
    assert not vectors(build(Anybody()), users).vector.any()


@torch.no_grad()
def test_a_bag_is_the_mean_of_what_was_liked_and_of_the_words() -> None:
    encoder, users = build(STARSPACE), people()
    assert isinstance(encoder, StarSpaceUser)
    users.actions[-1, 0] = ACTION_INDEX["hide"]
    found = vectors(encoder, users)
    parts = [*users.vectors[-1, 1:], *encoder.words.weight[users.words[-1][users.words[-1] > 0]]]
    torch.testing.assert_close(found.vector[-1], torch.stack(parts).mean(0), atol=1 / 64 + 1e-5, rtol=0)
    assert not found.vector[0].any()
    assert int(found.filled[-1]) == 4  # what was hidden is compared with all the same


def test_the_ranking_loss_brings_users_and_their_tweets_together() -> None:
    """Users of two kinds, each with tweets of one kind, through a layer that has to be learned."""
    torch.manual_seed(0)
    users = people(40, 8)
    kinds = torch.randn(2, D)
    noise = torch.randn(40, 8, D)
    users = users._replace(mask=torch.ones_like(users.mask), words=torch.zeros_like(users.words))
    raw = kinds[torch.arange(40) % 2].unsqueeze(1) + 2 * noise
    layer = torch.nn.Linear(D, D)
    encoder = build(StarSpace(margin=0.5, negatives=10)).train()
    optimizer = torch.optim.AdamW(layer.parameters(), 1e-2)
    losses = []
    for _ in range(40):
        loss = vectors(encoder, users._replace(vectors=layer(raw))).loss
        assert loss is not None
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_there_is_no_ranking_without_two_tweets_of_two_users() -> None:
    encoder, users = build(STARSPACE).train(), people()
    for part in (some(users, slice(8, 9)), users._replace(mask=users.mask & False)):
        assert vectors(encoder, part).loss == 0.0
    assert vectors(build(StarSpace(ranking=0.0)).train(), users).loss is None
    doubled = StarSpace(interests=4, interest_width=4, ranking=2 * STARSPACE.ranking)
    once, twice = (vectors(build(config).train(), users).loss for config in (STARSPACE, doubled))
    assert once is not None
    assert twice is not None
    torch.testing.assert_close(2 * once, twice)
    assert float(once.detach()) > 0
