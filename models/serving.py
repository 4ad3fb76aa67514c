"""A bundle at work: tweets and user states to vectors, pairs to calibrated probabilities.

Called by the stages and by offline evaluation alike, so both give the same numbers. Knows nothing of stores
or of Kafka. Methods may be called from one thread at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle import Bundle
from models.calibration import Curves
from models.compiled_tower import make_tower
from models.devices import pick_device
from models.events import Profile, Tweet
from models.features import pair_features, tweet_features
from models.histories import depth, histories, reader_terms, snapshots
from models.rounding import INTEREST, VECTOR, pack
from models.scorer import UserRows, make_scorer
from models.state.affinity import AFFINITY
from models.state.keys import short_key
from models.state.taste import decode as decode_tastes
from models.state.tweet import TweetRecord
from models.state.user import HISTORY, UserState
from models.state.vector import habits_of, vector_dtype
from models.text.coverage import HISTORY_TERMS, asked, sketch
from models.text.encode import encode_texts
from models.text.likeness import codes
from models.text.numerics import Numerics, with_numerics
from models.text.terms import Terms, terms_of
from models.text.tokens import Tokens


class ServingModel:
    """See the module. `heads` are the actions it gives probabilities of, `fingerprint` names its contents."""

    def __init__(self, bundle: Bundle, device: str = "auto", numerics: Numerics = "auto") -> None:
        self.bundle = bundle
        self.device = pick_device(device)
        bundle.network.to(self.device).eval()
        self.tokens: Tokens = bundle.tokens
        self.text = with_numerics(bundle.network.text, bundle.tokens, numerics)
        self.fingerprint = bundle.fingerprint
        self.heads = tuple(bundle.config.heads)
        self.dimensions = bundle.config.model.tweet.dimensions
        user = bundle.config.model.user
        self.history = user.history
        self.tastes = bundle.network.tastes
        self.user_dtype = vector_dtype(
            self.dimensions, user.interests, user.interest_width, len(self.tastes.center)
        )
        self.term_weights = bundle.network.term_weights.cpu().numpy()
        #: Numbers of a reader's taste, 0 where the model keeps none.
        self.taste_width = len(self.tastes.center) if bundle.config.model.remembers else 0
        self._tower = make_tower(bundle.network.tweet, self.device)
        self._scorer = make_scorer(bundle.network, self.device)
        self._curves = Curves([bundle.calibration[head] for head in self.heads])
        self.cold: NDArray[np.void] = self.user_vectors({"": UserState()}, {})

    @classmethod
    def load(cls, bundle: Path, device: str = "auto", numerics: Numerics = "auto") -> ServingModel:
        """Read a bundle. `device` is "cpu", "cuda", "cuda:1", or "auto", `numerics` as in
        `models.text.numerics`. Raises BundleError and DeviceError.
        """
        return cls(Bundle.from_pretrained(bundle), device, numerics)

    def tensor(self, array: NDArray[np.generic]) -> torch.Tensor:
        """A numpy array on the model's device."""
        return torch.from_numpy(array).to(self.device)

    def warm_up(self) -> None:
        """Run every path once, so that the first real batch does not pay for compilation and allocation."""
        tweet = Tweet(tweet_id="1", author_id="1", created_at=0, text="a word " * 8)
        for n in (1, 64):
            vectors = self.embed([tweet] * n, [None] * n, np.zeros((n, 7)))
            rows = self.user_rows(n)
            slots = np.arange(n)
            rows.set(
                slots, self.user_vectors({str(i): UserState() for i in range(n)}, {}), np.zeros(n, np.uint32)
            )
            no = np.zeros(n, np.bool_)
            features = pair_features(
                0, np.zeros(n, np.uint8), np.zeros(n, AFFINITY), rows.habits, no, no, np.zeros(n, np.float32)
            )
            self.score(vectors, self.terms([tweet] * n), np.zeros(n, np.intp), rows, slots, features)

    def check(self, tweet: Tweet) -> str | None:
        """Why a tweet can't be embedded, in words, or None."""
        if tweet.text_tokens is None:
            return None
        if not self.bundle.config.recipe.model.reads_ids:
            return "the model learned from texts, and knows no vocabulary of token ids"
        return self.tokens.check(tweet.text_tokens)

    def embed(
        self, tweets: Sequence[Tweet], authors: Sequence[Profile | None], sums: NDArray[np.float64]
    ) -> NDArray[np.float16]:
        """Tweet vectors float16 [n, d] of tweets that passed `check`. A row may hold non-finite values.

        `authors` are the authors' profiles (None: unknown), `sums` their `AuthorStore` sums [n, 7] before
        the tweet. A row does not depend on its neighbours, up to about 1e-4.
        """
        texts = [self.text_of(tweet) for tweet in tweets]
        keys = np.array([short_key(tweet.author_id) for tweet in tweets], np.uint32)
        return self.tweet_vectors(self.text_vectors(texts), keys, tweet_features(tweets, authors, sums))

    def text_of(self, tweet: Tweet) -> str:
        """The text that is encoded: `text_tokens` are decoded."""
        return tweet.text if tweet.text is not None else self.tokens.text_of(tweet.text_tokens or [])

    def terms(self, tweets: Sequence[Tweet]) -> Terms:
        """Hashed terms uint16 [n, TERMS] of tweets that passed `check`."""
        return terms_of([self.text_of(tweet) for tweet in tweets], self.term_weights)

    def text_vectors(self, texts: Sequence[str]) -> NDArray[np.float16]:
        """Vectors float16 [n, w] of texts, from the text encoder alone; equal texts are encoded once."""
        places = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        vectors = encode_texts(self.text, self.tokens, list(places))
        return vectors[[places[text] for text in texts]]

    def tweet_vectors(
        self, texts: NDArray[np.float16], authors: NDArray[np.uint32], features: NDArray[np.float32]
    ) -> NDArray[np.float16]:
        """Tweet vectors float16 [n, d] of text vectors [n, w], authors' short keys [n] and features."""
        return self._tower(texts.astype(np.float32), authors, features).astype(np.float16)

    def user_vectors(
        self,
        users: Mapping[str, UserState],
        tweets: Mapping[int, TweetRecord],
        tastes: Sequence[bytes | None] | None = None,
    ) -> NDArray[np.void]:
        """Records [n] of `user_dtype` of users by id. Items whose tweet is missing or lacks a vector are left
        out; `tastes` are packed, as stored.
        """
        n, states = len(users), snapshots(list(users.values()))
        m = depth(states, self.history)
        vectors = np.zeros((n, m, self.dimensions), np.float16)
        known = np.zeros((n, m), np.bool_)
        terms = np.zeros((n, m, HISTORY_TERMS), np.uint16)
        for i, j in zip(*np.nonzero(np.arange(m) < states["count"][:, None]), strict=True):
            record = tweets.get(int(states["items"]["tweet"][i, j]))
            if record is not None and len(record.vector):
                vectors[i, j], known[i, j] = record.vector, True
                terms[i, j] = record.terms[:HISTORY_TERMS]
        remembered = decode_tastes(tastes or [None] * n, len(self.tastes.center))
        keys = np.array([short_key(user_id) for user_id in users], np.uint32)
        return self.user_records(states, vectors, known, terms, remembered, keys)

    def user_records(
        self,
        users: NDArray[np.void],
        vectors: NDArray[np.float16],
        known: NDArray[np.bool_],
        terms: Terms,
        tastes: NDArray[np.void],
        readers: NDArray[np.uint32],
    ) -> NDArray[np.void]:
        """The same of SNAPSHOT [n] with item vectors [n, m, d], whether each is known [n, m], the items'
        terms [n, m, HISTORY_TERMS], tastes [n], and the users' short keys [n].
        """
        leanings = self.tastes.leanings(tastes, users["stats"]["words"])
        with torch.inference_mode():
            items = self.tensor(vectors.astype(np.float32))
            batch = histories(users, items, known, self.tastes.features(tastes, leanings), readers)
            result = self.bundle.network.users(batch)
        out = np.zeros(len(users), self.user_dtype)
        out["habits"] = habits_of(users["stats"])
        out["vector"] = VECTOR.codes(result.vector)
        out["interests"] = pack(INTEREST.codes(result.interests))
        out["filled"] = result.filled.cpu().numpy()
        out["leaning"] = codes(leanings)
        out["sketch"] = sketch(reader_terms(users, terms))
        return out

    def user_rows(self, capacity: int) -> UserRows:
        """Room for `capacity` users."""
        return self._scorer.rows(capacity)

    def score(
        self,
        tweets: NDArray[np.float16] | NDArray[np.float32],
        terms: Terms,
        tweet_index: NDArray[np.intp],
        rows: UserRows,
        slots: NDArray[np.intp],
        features: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Calibrated probabilities float32 [n, heads] of pairs (tweets[tweet_index[i]], slots[i]).

        `tweets` are vectors [t, d], `terms` theirs [t, TERMS]; `features` are `pair_features` [n, e].
        """
        logits = self._scorer.logits(
            np.asarray(tweets, np.float32),
            asked(terms, self.term_weights, self.tastes),
            tweet_index,
            rows,
            slots,
            features,
        )
        return self.calibrate(logits)

    def calibrate(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Logits [n, heads] as probabilities."""
        return self._curves.probabilities(logits)


assert HISTORY <= 255  # `filled` and `count` are one byte
