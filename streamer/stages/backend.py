"""What stages work on: stores, the model, and a way of waiting. Knows nothing of any stage's work."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Protocol

from models.bundle import BundleError
from models.devices import DeviceError
from models.serving import ServingModel
from models.state.stores import Stores
from models.text.numerics import Numerics
from streamer import metrics
from streamer.errors import StreamerError
from streamer.settings import Settings
from streamer.stage import StageUnavailable
from streamer.stores import ChangeFeed, Notices, RedisConnection, redis_stores

logger = logging.getLogger(__name__)


class Backend(Protocol):
    """Given to a stage. The attributes exist from `open` on; `model` only for stages that need one."""

    stores: Stores
    model: ServingModel
    notices: ChangeFeed

    def open(self) -> None:
        """Load and connect. Raises `StreamerError`."""

    def close(self) -> None:
        """Disconnect; harmless when not open."""

    def healthy(self) -> str | None:
        """See `streamer.stage.Healthy`."""

    def interrupt(self) -> None:
        """Let no wait last; called in another thread."""

    def wait(self, seconds: float) -> None:
        """Sleep. Raises `StageUnavailable` as soon as `interrupt` is called."""


class RedisBackend:
    """The real thing. Each stage has its own connection; the model is shared by the process's stages."""

    stores: Stores
    model: ServingModel
    notices: ChangeFeed

    def __init__(self, settings: Settings, *, with_model: bool) -> None:
        self._settings = settings
        self._with_model = with_model
        self._connection = RedisConnection(settings.redis)
        self._interrupted = threading.Event()

    def open(self) -> None:
        """See `Backend.open`. Waits for a Redis that is away, as everything here does."""
        fingerprint = ""
        if self._with_model:
            self.model = load_model(self._settings.bundle, self._settings.device, self._settings.numerics)
            fingerprint = self.model.fingerprint
            metrics.model_info.labels(fingerprint).set(1)
        self._connection.call(lambda client: client.ping())
        self.stores = redis_stores(self._connection, fingerprint)
        self.notices = Notices(self._connection, fingerprint)

    def close(self) -> None:
        """See `Backend.close`."""
        if isinstance(notices := getattr(self, "notices", None), Notices):
            notices.close()
        self._connection.close()

    def healthy(self) -> str | None:
        """Whether Redis takes writes."""
        return self._connection.healthy()

    def interrupt(self) -> None:
        """See `Backend.interrupt`."""
        self._interrupted.set()
        self._connection.interrupt()

    def wait(self, seconds: float) -> None:
        """See `Backend.wait`."""
        if self._interrupted.wait(seconds):
            raise StageUnavailable("stopped while waiting")


_models: dict[tuple[Path, str, str], ServingModel] = {}
_loading = threading.Lock()


def load_model(bundle: Path | None, device: str, numerics: Numerics = "auto") -> ServingModel:
    """The bundle, loaded and warmed up, once per process. Raises `StreamerError`.

    Sharing is safe because each of its methods is called by one stage, and so by one thread, only.
    """
    if bundle is None:
        raise StreamerError(
            "no bundle is set: `streamer train` makes one; name it with --bundle or STREAMER_BUNDLE"
        )
    with _loading:
        key = bundle.resolve(), device, numerics
        if key not in _models:
            started = time.monotonic()
            try:
                model = ServingModel.load(bundle, device, numerics)
            except (BundleError, DeviceError) as error:
                raise StreamerError(str(error)) from error
            if "retweet" not in model.heads:
                raise StreamerError(f"the bundle {bundle} has no head for retweets: train one that does")
            model.warm_up()
            logger.info("model %s loaded in %.1f s", model.fingerprint, time.monotonic() - started)
            _models[key] = model
        return _models[key]
