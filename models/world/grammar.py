"""What the tweets of a simulated world are about and the words they are written in.

Every trait that behaviour depends on can be read off the tweet: topics and manner off the words, media,
links and mentions off their fields. Knows nothing of who reads a tweet or of probabilities.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.world.config import WorldConfig
from models.world.network import Network
from models.world.vocabulary import (
    BIOS,
    HASHTAGS,
    LANGUAGES,
    MOODS,
    NOUNS,
    OPENINGS,
    SYLLABLES,
    TEMPLATES,
    TOPICS,
)

MANNERS = ("plain", "question", "call")

_KIND_SHARES = (0.8, 0.12, 0.08)
_MANNER_SHARES = (0.7, 0.17, 0.13)
#: Shares of tweets with a second topic, media, a link, a hashtag, and (of originals) a mention of a follower.
_SECOND, _MEDIA, _LINK, _HASHTAG, _MENTION = 0.3, 0.35, 0.3, 0.5, 0.1
#: A reply or quote answers the best match among so many of the latest originals.
_CANDIDATES = 12

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Drafts:
    """What authors write, in time order: arrays [T]. -1 stands for none.

    `topic` [T, 2] holds the main and the second topic (the same where there is only one): the tweet is about
    each with the weight `TOPIC_WEIGHTS`.
    """

    author: Ints
    created_at: Ints
    #: 0 original, 1 reply, 2 quote.
    kind: Ints
    topic: Ints
    manner: Ints
    media: Bools
    link: Bools
    hashtag: Bools
    #: The draft that is answered or quoted.
    parent: Ints
    #: The user mentioned.
    mention: Ints


#: How much a tweet is about its main and its second topic.
TOPIC_WEIGHTS = (0.6, 0.4)


def make_drafts(config: WorldConfig, network: Network, rng: np.random.Generator) -> Drafts:
    """Draw who writes when, about what, in which manner."""
    n = config.tweets
    authors = len(network.quality)
    share = network.productivity / network.productivity.sum(dtype=np.float64)
    author = rng.choice(authors, size=n, p=share / share.sum())
    created_at = _times(config, n, rng)
    kind = rng.choice(3, size=n, p=_KIND_SHARES)
    kind[:_CANDIDATES] = 0
    leaning = network.interests[:authors].astype(np.float64) ** 2
    shares = (leaning / leaning.sum(axis=1, keepdims=True)).cumsum(axis=1)
    topic = (rng.random((n, 2, 1)) > shares[author][:, None, :]).sum(axis=2).clip(0, len(TOPICS) - 1)
    topic[:, 1] = np.where(rng.random(n) < _SECOND, topic[:, 1], topic[:, 0])

    # Replies and quotes: of a few recent originals, the one nearest to the author's language and interests.
    originals = np.flatnonzero(kind == 0)
    answers = np.flatnonzero(kind > 0)
    newest = np.searchsorted(originals, answers)
    back = rng.integers(1, np.minimum(newest, 300)[:, None] + 1, (len(answers), _CANDIDATES))
    candidates = originals[newest[:, None] - back]
    fit = network.interests[author[answers][:, None], topic[candidates, 0]].astype(np.float64)
    fit += 2.0 * (network.language[author[candidates]] == network.language[author[answers]][:, None])
    fit -= 5.0 * (author[candidates] == author[answers][:, None])
    parent = np.full(n, -1)
    parent[answers] = candidates[np.arange(len(answers)), fit.argmax(axis=1)]
    topic[answers] = topic[parent[answers]]

    mention = np.where(kind == 1, author[parent], -1)
    degree = np.diff(network.edges_of)[author]
    named = (kind == 0) & (rng.random(n) < _MENTION) & (degree > 0)
    edge = network.edges_of[author] + (rng.random(n) * degree).astype(np.int64)
    mention[named] = network.follower[edge[named]]
    return Drafts(
        author=author,
        created_at=created_at,
        kind=kind,
        topic=topic,
        manner=rng.choice(3, size=n, p=_MANNER_SHARES),
        media=rng.random(n) < _MEDIA,
        link=rng.random(n) < _LINK,
        hashtag=rng.random(n) < _HASHTAG,
        parent=parent,
        mention=mention,
    )


def _times(config: WorldConfig, n: int, rng: np.random.Generator) -> Ints:
    """Sorted times in ms, three times as many by day as by night."""
    moment = rng.random(4 * n) * (config.end_ms - config.start_ms)
    hour = (moment / 3_600_000) % 24
    keep = rng.random(4 * n) < 0.65 - 0.35 * np.cos(2 * np.pi * (hour - 3) / 24)
    return config.start_ms + np.sort(moment[keep][:n]).astype(np.int64)


@dataclass(frozen=True, slots=True)
class Wording:
    """The public face of a draft: the fields of a tweet that the grammar decides."""

    text: str
    hashtags: list[str]
    links: list[str]
    media: list[str]


def write_text(
    drafts: Drafts, i: int, language: int, handles: list[str], rng: np.random.Generator
) -> Wording:
    """Put draft `i` into words."""
    spoken = LANGUAGES[language]
    first, second = (NOUNS[spoken][topic] for topic in drafts.topic[i].tolist())
    pick = rng.integers(0, 1 << 30, 7).tolist()
    a = first[pick[0] % len(first)]
    b = second[pick[1] % len(second)]
    if b == a:
        b = second[(pick[1] + 1) % len(second)]
    mood = MOODS[spoken][pick[2] % len(MOODS[spoken])]
    templates = TEMPLATES[spoken][MANNERS[drafts.manner[i]]]
    # A template with one topical word would hide the second topic.
    if drafts.topic[i, 0] != drafts.topic[i, 1]:
        templates = tuple(t for t in templates if "{b}" in t)
    text = templates[pick[3] % len(templates)].format(
        a=a, b=b, m=mood, A=a[0].upper() + a[1:], M=mood[0].upper() + mood[1:]
    )
    if drafts.kind[i] in (1, 2):
        text = f"{OPENINGS[spoken][pick[4] % len(OPENINGS[spoken])]} {text}"
    if drafts.kind[i] == 1:
        text = f"@{handles[drafts.mention[i]]} {text}"
    elif drafts.mention[i] >= 0:
        text = f"{text} cc @{handles[drafts.mention[i]]}"
    tags = HASHTAGS[drafts.topic[i, 0]]
    hashtags = [tags[pick[5] % len(tags)]] if drafts.hashtag[i] else []
    links = (
        [f"https://example.org/{TOPICS[drafts.topic[i, 0]]}/{pick[6] % 9000 + 1000}"]
        if drafts.link[i]
        else []
    )
    media = [("photo", "photo", "video", "animated_gif")[pick[6] % 4]] if drafts.media[i] else []
    return Wording(" ".join([text, *(f"#{tag}" for tag in hashtags), *links]), hashtags, links, media)


def make_handles(users: int, rng: np.random.Generator) -> list[str]:
    """Screen names: three syllables and, to tell users apart, their number."""
    syllables = rng.integers(0, len(SYLLABLES), (users, 3)).tolist()
    return [f"{SYLLABLES[a]}{SYLLABLES[b]}{SYLLABLES[c]}{i}" for i, (a, b, c) in enumerate(syllables)]


def make_bio(interests: list[int], language: int) -> str:
    """A profile's description, naming interests (topics) where there are any."""
    some, none = BIOS[LANGUAGES[language]]
    return some.format(topics=", ".join(TOPICS[topic] for topic in interests)) if interests else none
