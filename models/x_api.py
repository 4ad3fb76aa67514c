"""Posts as the X API v2 returns them, turned into tweets and users.

Reads what the public documentation describes: responses (`data`, `includes`) or bare post objects, one per
line, or one JSON document that is a response or an array of these. Knows nothing of the API's network side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from models.events import Tweet, TweetKind, User
from models.log_columns import LogError
from models.read_report import ReadReport


class _Mention(msgspec.Struct):
    username: str = ""
    id: str | None = None


class _Hashtag(msgspec.Struct):
    tag: str


class _Url(msgspec.Struct):
    url: str
    expanded_url: str | None = None
    #: Set when the link is only the place of an attached photo or video.
    media_key: str | None = None


class _Entities(msgspec.Struct):
    mentions: list[_Mention] = []
    hashtags: list[_Hashtag] = []
    urls: list[_Url] = []


class _Note(msgspec.Struct):
    """The whole of a post of more than 280 characters, of which `text` holds only the beginning."""

    text: str
    entities: _Entities | None = None


class _Reference(msgspec.Struct):
    type: str
    id: str


class _Attachments(msgspec.Struct):
    media_keys: list[str] = []


class _Post(msgspec.Struct):
    id: str
    text: str
    author_id: str | None = None
    created_at: datetime | None = None
    lang: str | None = None
    note_tweet: _Note | None = None
    entities: _Entities | None = None
    referenced_tweets: list[_Reference] = []
    attachments: _Attachments | None = None


class _Metrics(msgspec.Struct):
    followers_count: int = 0
    following_count: int = 0


class _Account(msgspec.Struct):
    id: str
    username: str = ""
    created_at: datetime | None = None
    description: str = ""
    verified: bool = False
    public_metrics: _Metrics | None = None


class _Media(msgspec.Struct):
    media_key: str
    type: str


class _Includes(msgspec.Struct):
    users: list[_Account] = []
    tweets: list[_Post] = []
    media: list[_Media] = []


class _Response(msgspec.Struct):
    data: list[_Post] | _Post | None = None
    includes: _Includes | None = None


#: The kinds by type of reference. A post may both quote and reply: then it counts as a quote.
_KINDS: Final[dict[str, TweetKind]] = {"retweeted": "retweet", "quoted": "quote", "replied_to": "reply"}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def read_x_api(path: Path | str, report: ReadReport | None = None) -> Iterator[User | Tweet]:
    """Yield the users and tweets of a file: of each response its users, then posts referred to, then its own.

    What can't be read is left out and counted in `report` by line; if that is strict, it raises `LogError`,
    as does a file that is missing or holds no post.
    """
    path = Path(path)
    report = ReadReport() if report is None else report
    for line, document in _documents(path):
        try:
            for event in parse_x_api(document, partial(report.reject, path, line)):
                report.rows += 1
                yield event
        except ValueError as error:  # msgspec's errors are ValueErrors
            report.reject(path, line, str(error))
    if not report.rows and not report.unreadable:
        raise LogError(f"{path} holds no posts")


def _documents(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (line number, JSON object): a line each, or those of the one document that the file is."""
    try:
        with path.open("rb") as file:
            first = next((line for line in file if line.strip()), b"")
            if _is_json(first) and not first.lstrip().startswith(b"["):
                file.seek(0)
                yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
                return
            whole = first + file.read()
    except OSError as error:
        raise LogError(f"{path} can't be read: {error.strerror}") from None
    try:
        document = msgspec.json.decode(whole, type=list[msgspec.Raw] | dict[str, msgspec.Raw])
    except msgspec.DecodeError:
        yield from ((number, line) for number, line in enumerate(whole.splitlines(), 1) if line.strip())
        return
    yield from ((1, bytes(item)) for item in (document if isinstance(document, list) else [whole]))


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True


def parse_x_api(document: bytes, reject: Callable[[str], None]) -> Iterator[User | Tweet]:
    """Yield users and tweets of one response or one bare post, in JSON.

    `reject` is told why a user or post is left out, for instance because it lacks a field that has to be
    asked for. Raises ValueError (`msgspec.ValidationError` among them) when the document is neither.
    """
    names = msgspec.json.decode(document, type=dict[str, msgspec.Raw])
    if "data" in names or "includes" in names:
        response = msgspec.json.decode(document, type=_Response)
    elif "id" in names:
        response = _Response(data=msgspec.json.decode(document, type=_Post))
    elif "errors" in names or "meta" in names:
        return  # a response without a result
    else:
        raise ValueError("neither a response with `data` nor a post with `id`")
    includes = response.includes or _Includes()
    own = response.data if isinstance(response.data, list) else [response.data] if response.data else []
    posts = {post.id: post for post in [*includes.tweets, *own]}
    ids = {account.username.lower(): account.id for account in includes.users if account.username}
    media = {item.media_key: item.type for item in includes.media}
    makers: list[Callable[[], User | Tweet]] = [partial(_user, account) for account in includes.users]
    makers += [partial(_tweet, post, posts, ids, media) for post in posts.values()]
    for make in makers:
        try:
            yield make()
        except ValueError as error:
            reject(str(error))


def _user(account: _Account) -> User:
    metrics = account.public_metrics or _Metrics()
    return msgspec.convert(
        {
            "user_id": account.id,
            "followers": metrics.followers_count,
            "following": metrics.following_count,
            "verified": account.verified,
            "created_at": _ms(account.created_at) if account.created_at else 0,
            "description": account.description,
        },
        User,
    )


def _tweet(post: _Post, posts: dict[str, _Post], ids: dict[str, str], media: dict[str, str]) -> Tweet:
    if post.author_id is None or post.created_at is None:
        missing = "author_id" if post.author_id is None else "created_at"
        raise ValueError(f"post {post.id} lacks `{missing}`: request tweet.fields=author_id,created_at")
    referred = {reference.type: reference.id for reference in post.referenced_tweets}
    reference = next((name for name in _KINDS if name in referred), None)
    # The text of a retweet is cut off; the post it refers to has the whole.
    source = posts.get(referred["retweeted"], post) if reference == "retweeted" else post
    note = source.note_tweet
    entities = (note.entities if note and note.entities else source.entities) or _Entities()
    mentioned = [mention.id or ids.get(mention.username.lower()) for mention in entities.mentions]
    attachments = source.attachments or _Attachments()
    fields: dict[str, Any] = {
        "tweet_id": post.id,
        "author_id": post.author_id,
        "created_at": _ms(post.created_at),
        "text": note.text if note else source.text,
        "language": source.lang,
        "kind": _KINDS[reference] if reference else "original",
        "original_id": referred[reference] if reference else None,
        "mentions": list(dict.fromkeys(user for user in mentioned if user)),
        "hashtags": [hashtag.tag for hashtag in entities.hashtags],
        "links": [url.expanded_url or url.url for url in entities.urls if not url.media_key],
        "media": [media.get(key, key) for key in attachments.media_keys],
    }
    return msgspec.convert(fields, Tweet)


def _ms(moment: datetime) -> int:
    """Milliseconds since the epoch; a time without a zone is UTC, as all of the API's are."""
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // timedelta(milliseconds=1)
