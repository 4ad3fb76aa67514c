"""Write an event log's exposures in the RecSys Challenge format, texts as BERT ids.

Knows nothing of how such files are read (`models.recsys`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing

from models.events import Engagement, Follow, Profile, Tweet, User
from models.log import Event, EventLog, LogError, Table

_TYPE_OF = {"original": "TopLevel", "reply": "Reply", "quote": "Quote", "retweet": "Retweet"}
#: Order of the label columns.
_ACTIONS = ("reply", "retweet", "quote", "like")
_SEPARATORS = re.compile(r"[\x01\t\r\n]")


def build_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Return a cased BERT tokenizer whose vocabulary is the words of `texts`, and their letters for others.

    Deterministic. The ids are those of this vocabulary, not of a published one.
    """
    splitter = BertPreTokenizer()
    words: set[str] = set()
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(text))
    letters = {letter for word in words for letter in word}
    # Numbers (of links, of handles) are spelled out: they would be words of their own without end.
    names = {word for word in words if not any(letter.isdigit() for letter in word)}
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(letters | names)]
    pieces += sorted(f"##{letter}" for letter in letters)
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))  # noqa: S106 (a token, but no secret)
    tokenizer.normalizer = BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = BertProcessing(("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    return tokenizer


def write_recsys(
    log: EventLog, exposures: Table, path: Path | str, tokenizer: Tokenizer | None = None
) -> int:
    """Write `exposures` of `log` as a TSV file with 24 columns; return the number of rows.

    Tweets with a text are encoded by `tokenizer` (default: `build_tokenizer` of the log's own texts, saved
    beside the file as NAME.vocab.txt, a line per id). Follow edges are as of the time shown; a label without
    a recorded engagement gets the time shown. Tweets, profiles and edges are held in memory.

    Raises `LogError` when an exposure's tweet is not in the log.
    """
    path = Path(path)
    if tokenizer is None:
        texts = (e.text for _, e in log.events(tables=("tweets",)) if isinstance(e, Tweet) and e.text)
        tokenizer = build_tokenizer(texts)
        vocabulary = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
        lines = "".join(f"{piece}\n" for piece, _ in vocabulary)
        path.with_suffix(".vocab.txt").write_text(lines, encoding="utf-8")

    tweets = {
        tweet.tweet_id: (_tweet_fields(tweet, tokenizer), tweet.author_id)
        for _, tweet in log.events(tables=("tweets",))
        if isinstance(tweet, Tweet)
    }
    acted: defaultdict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for at, event in log.events(tables=("engagements",)):
        if isinstance(event, Engagement):
            acted[event.user_id, event.tweet_id].setdefault(event.action, at)
    edges = log.events(tables=("users", "follows"))
    people = _People()
    upcoming = next(edges, None)
    with path.open("w", encoding="utf-8", newline="\n") as out:
        rows = 0
        for batch in exposures.batches():
            for row in batch.to_pylist():
                while upcoming is not None and upcoming[0] <= row["shown_at"]:
                    people.learn(upcoming[1])
                    upcoming = next(edges, None)
                reader, tweet_id = row["user_id"], row["tweet_id"]
                if tweet_id not in tweets:
                    raise LogError(f"{exposures.path} shows tweet {tweet_id}, which {log.path} does not have")
                fields, author = tweets[tweet_id]
                times = acted.get((reader, tweet_id), {})
                labels = [str(times.get(a, row["shown_at"]) // 1000) if row[a] else "" for a in _ACTIONS]
                follows = _flag((author, reader) in people.follows)
                row_fields = [fields, people.fields(author), people.fields(reader), follows, *labels]
                out.write("\x01".join(row_fields) + "\n")
                rows += 1
    return rows


class _People:
    """Profiles and follow edges as they stand."""

    def __init__(self) -> None:
        self.follows: set[tuple[str, str]] = set()
        self._profiles: dict[str, str] = {}

    def learn(self, event: Event) -> None:
        if isinstance(event, User):
            self._profiles[event.user_id] = _profile_fields(event)
        elif isinstance(event, Follow):
            edge = event.follower_id, event.author_id
            (self.follows.add if event.action == "follow" else self.follows.discard)(edge)

    def fields(self, user: str) -> str:
        return f"{_clean(user)}\x01{self._profiles.get(user) or _profile_fields(Profile())}"


def _profile_fields(profile: Profile) -> str:
    counts = f"{profile.followers}\x01{profile.following}"
    return f"{counts}\x01{_flag(profile.verified)}\x01{profile.created_at // 1000}"


def _tweet_fields(tweet: Tweet, tokenizer: Tokenizer) -> str:
    tokens = tweet.text_tokens or tokenizer.encode(tweet.text).ids
    domains = [urlsplit(link).netloc or link for link in tweet.links]
    fields = [
        "\t".join(map(str, tokens)),
        _list(tweet.hashtags),
        _clean(tweet.tweet_id),
        _list(tweet.media),
        _list(tweet.links),
        _list(domains),
        _TYPE_OF[tweet.kind],
        _clean(tweet.language or ""),
        str(tweet.created_at // 1000),
    ]
    return "\x01".join(fields)


def _list(values: list[str]) -> str:
    return "\t".join(map(_clean, values))


def _clean(value: str) -> str:
    """Replace what separates rows, fields and list items: the format has no way to write it."""
    return _SEPARATORS.sub(" ", value)


def _flag(value: bool) -> str:
    return "true" if value else "false"
