"""What is measured: our worker, our workers, or a peer, as processes.

Knows nothing of topics or of what is measured.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final, Self

from streamer.local.process import LocalServer, LocalServerError, free_port
from streamer.local.worker import LocalWorker
from streamer.settings import ENV_PREFIX, Settings
from streamer.stages import STAGES

_ROOT: Final = Path(__file__).parents[1]
#: Torch's threads in every system: while they wait for each other they spin, on cores that Kafka needs.
_TORCH_THREADS: Final = 1


class Peer(LocalServer):
    """`python -m benchmarks.peers.<module>`. Started means that its model is loaded: its port is open."""

    start_timeout = 300.0

    def __init__(self, module: str, settings: Settings) -> None:
        self.name = module
        super().__init__(port=free_port())
        self._module, self._settings = module, settings

    def command(self) -> Sequence[str]:
        """Its settings go with the environment."""
        kafka = self._settings.kafka
        values = {
            "KAFKA__BOOTSTRAP": kafka.bootstrap,
            "KAFKA__TOPIC_PREFIX": kafka.topic_prefix,
            "KAFKA__GROUP_PREFIX": kafka.group_prefix,
            "KAFKA__COMPRESSION": kafka.compression,
            "REDIS__URL": self._settings.redis.url,
            **({"BUNDLE": bundle} if (bundle := self._settings.bundle) else {}),
            "DEVICE": self._settings.device,
            "HTTP__PORT": self.port,
        }
        environment = [f"{ENV_PREFIX}{name}={value}" for name, value in values.items()]
        python = [sys.executable, "-m", f"benchmarks.peers.{self._module}"]
        own = [f"PYTHONPATH={_ROOT}", f"HOME={self.data_dir}", f"OMP_NUM_THREADS={_TORCH_THREADS}"]
        return ["env", *environment, *own, *python]

    @property
    def pids(self) -> list[int]:
        """Its one process."""
        return [self.pid]

    def answers(self) -> bool:
        """It opens its port when it is ready to."""
        return True

    def check(self) -> None:
        """Raise `LocalServerError`, with its reason, when it has ended."""
        if not self.running:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise LocalServerError(f"{self.name} ended: {self.explain(tail)}")


class Ours(LocalWorker):
    """Our worker. It may start on a machine that is busy."""

    start_timeout = Peer.start_timeout

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings, threads=_TORCH_THREADS)

    @property
    def pids(self) -> list[int]:
        """All its processes."""
        return [self.pid]


class OursApart(Ours):
    """Two of our workers, of which one embeds: each has an interpreter's lock of its own."""

    def __init__(self, settings: Settings) -> None:
        rest = tuple(stage for stage in STAGES if stage != "embed")
        super().__init__(settings.model_copy(update={"stages": rest}))
        self._embed = Ours(settings.model_copy(update={"stages": ("embed",)}))

    @property
    def pids(self) -> list[int]:
        """Of both."""
        return [*super().pids, *self._embed.pids]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(self._embed)
            super().__enter__()
            stack.pop_all()
        return self

    def __exit__(self, *why: object) -> None:
        with closing(self._embed):
            super().__exit__(*why)

    def check(self) -> None:
        """Raise `LocalServerError` when either has ended."""
        super().check()
        self._embed.check()


System = Ours | Peer
