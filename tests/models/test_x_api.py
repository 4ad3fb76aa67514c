"""X API v2 documents: what becomes a tweet, and what is said of the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models.events import Tweet, User
from models.log import LogError
from models.read_report import ReadReport
from models.x_api import read_x_api

POST: dict[str, Any] = {
    "id": "1212092628029698048",
    "text": "We believe the best future version of our API...",
    "author_id": "2244994945",
    "created_at": "2019-12-31T19:26:16.000Z",
    "lang": "en",
    "entities": {
        "mentions": [{"start": 0, "end": 9, "username": "Account", "id": "77"}, {"username": "Other"}],
        "hashtags": [{"start": 1, "end": 5, "tag": "api"}],
        "urls": [
            {"url": "https://t.co/a", "expanded_url": "https://example.org/a"},
            {"url": "https://t.co/b", "expanded_url": "https://x.com/p/photo/1", "media_key": "3_1"},
        ],
    },
    "attachments": {"media_keys": ["3_1", "7_2"]},
    "public_metrics": {"retweet_count": 8},
}
RESPONSE: dict[str, Any] = {
    "data": [POST],
    "includes": {
        "users": [
            {
                "id": "2244994945",
                "username": "XDevelopers",
                "created_at": "2013-12-14T04:35:55.000Z",
                "verified": True,
                "description": "The voice",
                "public_metrics": {"followers_count": 513958, "following_count": 2018, "tweet_count": 3643},
            },
            {"id": "88", "username": "oTHER"},
        ],
        "media": [{"media_key": "3_1", "type": "photo"}],
    },
}
TWEET = Tweet(
    tweet_id="1212092628029698048",
    author_id="2244994945",
    created_at=1577820376000,
    text="We believe the best future version of our API...",
    language="en",
    mentions=["77"],
    hashtags=["api"],
    links=["https://example.org/a"],
    media=["3_1", "7_2"],
)


def read(tmp_path: Path, content: str, report: ReadReport | None = None) -> list[User | Tweet]:
    path = tmp_path / "posts.json"
    path.write_text(content, encoding="utf-8")
    return list(read_x_api(path, report))


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(POST),
        "\n" + json.dumps(POST) + "\n\n",
        json.dumps(POST, indent=2),
        json.dumps([POST]),
        json.dumps([POST], indent=2),
        json.dumps({"data": POST}),
        json.dumps({"data": [POST], "meta": {"result_count": 1}}, indent=1),
        json.dumps({"meta": {"result_count": 0}}) + "\n" + json.dumps({"data": POST}),
    ],
)
def test_a_post_is_found_in_every_shape(tmp_path: Path, content: str) -> None:
    assert read(tmp_path, content) == [TWEET]


def test_includes_give_users_media_types_and_ids_of_mentions(tmp_path: Path) -> None:
    user, other, tweet = read(tmp_path, json.dumps(RESPONSE))
    assert user == User(
        user_id="2244994945",
        followers=513958,
        following=2018,
        verified=True,
        created_at=1386995755000,
        description="The voice",
    )
    assert other == User(user_id="88")
    assert isinstance(tweet, Tweet)
    assert tweet.media == ["photo", "7_2"]
    assert tweet.mentions == ["77", "88"]


@pytest.mark.parametrize(
    ("references", "kind", "original"),
    [
        ([], "original", None),
        (["replied_to"], "reply", "replied_to-id"),
        (["quoted"], "quote", "quoted-id"),
        (["retweeted"], "retweet", "retweeted-id"),
        (["replied_to", "quoted"], "quote", "quoted-id"),
    ],
)
def test_references_decide_the_kind(
    tmp_path: Path, references: list[str], kind: str, original: str | None
) -> None:
    post = POST | {"referenced_tweets": [{"type": r, "id": f"{r}-id"} for r in references]}
    [tweet] = read(tmp_path, json.dumps(post))
    assert isinstance(tweet, Tweet)
    assert (tweet.kind, tweet.original_id) == (kind, original)


def test_a_retweet_has_the_whole_text_of_what_it_retweets(tmp_path: Path) -> None:
    original = POST | {
        "id": "1",
        "note_tweet": {"text": "long " * 100, "entities": {"hashtags": [{"tag": "far"}]}},
    }
    retweet = {
        "id": "2",
        "text": "RT @XDevelopers: We bel…",
        "author_id": "9",
        "created_at": "2020-01-01T00:00:00.000Z",
        "referenced_tweets": [{"type": "retweeted", "id": "1"}],
    }
    first, second = read(tmp_path, json.dumps({"data": [retweet], "includes": {"tweets": [original]}}))
    assert isinstance(first, Tweet)
    assert isinstance(second, Tweet)
    assert (first.tweet_id, second.tweet_id) == ("1", "2")
    assert first.text == second.text == "long " * 100
    assert second.hashtags == ["far"]
    assert second.author_id == "9"


def test_what_cannot_be_read_is_counted_by_line(tmp_path: Path) -> None:
    bare = {"id": "5", "text": "default fields only"}
    lines = [
        json.dumps(POST),
        "{",
        json.dumps({"data": [bare, POST]}),
        json.dumps({"hello": 1}),
        json.dumps(POST | {"text": "  "}),
        json.dumps(POST | {"created_at": "soon"}),
        json.dumps(POST | {"created_at": "1899-01-01T00:00:00Z"}),
        '"text"',
    ]
    report = ReadReport()
    assert read(tmp_path, "\n".join(lines), report) == [TWEET, TWEET]
    assert (report.rows, report.unreadable) == (2, 7)
    assert [problem.split(":")[0] for problem in report.problems] == [f"line {i}" for i in range(2, 9)]
    assert report.problems[1].endswith("post 5 lacks `author_id`: request tweet.fields=author_id,created_at")
    with pytest.raises(LogError, match=r"line 2: "):
        read(tmp_path, "\n".join(lines), ReadReport(strict=True))


def test_a_first_line_that_is_broken_does_not_hide_the_others(tmp_path: Path) -> None:
    report = ReadReport()
    assert read(tmp_path, '{"id": \n' + json.dumps(POST), report) == [TWEET]
    assert report.unreadable == 1


@pytest.mark.parametrize("content", ["", "\n", "[]"])
def test_a_file_without_posts_says_so(tmp_path: Path, content: str) -> None:
    with pytest.raises(LogError, match="holds no posts"):
        read(tmp_path, content)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="can't be read: No such file"):
        list(read_x_api(tmp_path / "none.json"))
