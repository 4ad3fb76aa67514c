"""A real Apache Kafka on this machine: one KRaft node, broker and controller in one JVM.

The jars come from Maven Central (`ops/kafka/pom.xml`), once. Needs Java 17 or later, and Maven for that first
time. Ready 2.7 s after `start` (storage formatted), 2.2 s after a `stop`, 5 s after a `kill`, on two cores.
Knows nothing of the streamer's topics.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path

from kafka.admin import KafkaAdminClient
from kafka.errors import KafkaError

from streamer.client.connection import made
from streamer.local.process import HOST, LocalServer, LocalServerError, free_port

_ROOT = Path(__file__).parents[2]
_POM = _ROOT / "ops" / "kafka" / "pom.xml"
_LIBS = _ROOT / ".kafka" / "libs"


def java() -> str:
    """Path of the Java launcher (JAVA_HOME first). Raises `LocalServerError` when there is none."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin") if home else None
    if found := found or shutil.which("java"):
        return found
    raise LocalServerError(
        "no `java`: install Java 17 or later (Debian: openjdk-17-jre-headless) or set JAVA_HOME"
    )


def jars() -> Path:
    """Folder of Kafka's jars, fetched with Maven the first time (44 MB) and whenever `pom.xml` changes.

    Raises `LocalServerError` when Maven is missing or cannot fetch them.
    """
    if not _POM.is_file():
        raise LocalServerError(f"{_POM} is missing: a local Kafka is run from a checkout of the repository")
    libs = _LIBS / hashlib.sha256(_POM.read_bytes()).hexdigest()[:12]
    if libs.is_dir():
        return libs
    if (mvn := shutil.which("mvn")) is None:
        raise LocalServerError("no `mvn`: install Maven (Debian: maven), which fetches Kafka's jars once")
    _LIBS.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=_LIBS))
    try:
        done = subprocess.run(
            [mvn, "-q", "-B", "-f", _POM, "dependency:copy-dependencies", f"-DoutputDirectory={partial}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise LocalServerError(
                f"Maven could not fetch Kafka's jars:\n{(done.stdout + done.stderr)[-2000:]}"
            )
        # Renamed into place whole, so that an interrupted or a simultaneous run never leaves half a folder.
        if not libs.is_dir():
            partial.rename(libs)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return libs


class LocalKafka(LocalServer):
    """Apache Kafka on localhost. `bootstrap` is its address.

    `settings` are added to (and override) the broker's properties. `heap` is the JVM's largest heap.
    """

    name = "kafka"

    def __init__(
        self,
        data_dir: Path | None = None,
        port: int | None = None,
        *,
        heap: str = "512m",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(data_dir, port)
        self._controller_port = free_port()
        self._heap = heap
        self._settings = dict(settings or {})

    @property
    def bootstrap(self) -> str:
        """`host:port`, as in `bootstrap.servers`."""
        return self.address

    def properties(self) -> dict[str, str]:
        """The broker's `server.properties`."""
        one_node = {
            f"{log}.{suffix}": value
            for log in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
            # 4 partitions instead of 50: each is opened at every start.
            for suffix, value in (("replication.factor", "1"), ("num.partitions", "4"))
        }
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@{HOST}:{self._controller_port}",
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{HOST}:{self._controller_port}",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self.data_dir / "data"),
            **one_node,
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "default.replication.factor": "1",
            # A topic that nobody created is a mistake to report, not a topic to make.
            "auto.create.topics.enable": "false",
            # Groups form at once (3 s by default), and tests may time a dead member out quickly (6 s).
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            # After SIGKILL the restarted broker may register only once its former self has timed out: up
            # again after 5.1 s instead of 11.9 s with the default of 9 s.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            **self._settings,
        }

    def command(self) -> Sequence[str]:
        """Write the properties, format the storage the first time, and give the JVM's command line."""
        properties = self.data_dir / "server.properties"
        properties.write_text("".join(f"{key}={value}\n" for key, value in self.properties().items()))
        jvm = [
            java(),
            f"-Xmx{self._heap}",
            "-XX:+UseSerialGC",
            # The thorough compiler is for brokers that run for days: in its first minutes it takes a quarter
            # of a core. At 100,000 records a second p99 was 50 to 64 ms then and 38 to 43 after it, and is 37
            # to 41 from the start with the quick one; its code takes 0.30 core, the other's 0.24.
            "-XX:TieredStopAtLevel=1",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        ]
        jvm += ["-cp", f"{jars()}/*"]
        if not (self.data_dir / "data" / "meta.properties").is_file():
            cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            # With `=`: one in 64 ids begins with `-`.
            options = [f"--cluster-id={cluster}", f"--config={properties}"]
            tool = [*jvm, "kafka.tools.StorageTool", "format", *options]
            done = subprocess.run(tool, capture_output=True, text=True, check=False)
            if done.returncode:
                reason = self.explain((done.stdout + done.stderr)[-2000:])
                raise LocalServerError(f"Kafka's storage could not be formatted: {reason}")
        return [*jvm, "kafka.Kafka", str(properties)]

    def answers(self) -> bool:
        """The broker is registered and lets clients in."""
        try:
            # Not `KafkaAdminClient(...)`: under load the first answer may be late, and what the constructor
            # leaves open when it gives up would be found by a test that has nothing to do with it.
            with made(KafkaAdminClient, bootstrap_servers=self.bootstrap, request_timeout_ms=5000) as admin:
                return bool(admin.describe_cluster()["brokers"])
        except KafkaError:
            return False

    def explain(self, log: str) -> str:
        """Too old a Java is the one failure with a remedy of its own."""
        if "UnsupportedClassVersionError" in log:
            return f"{java()} is too old: install Java 17 or later, or set JAVA_HOME"
        return super().explain(log)


def main() -> int:
    """Run a Kafka until Ctrl-C or SIGTERM: `ops/kafka/run`."""
    parser = argparse.ArgumentParser("ops/kafka/run", description="Run a single-node Kafka on localhost.")
    parser.add_argument("--port", type=int, default=9092, help="port on 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--data", type=Path, default=_ROOT / ".kafka" / "data", help="folder for its data")
    parser.add_argument("--heap", default="1g", help="largest heap of the JVM (default: %(default)s)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with LocalKafka(options.data, options.port, heap=options.heap) as server:
            print(
                f"Kafka answers at {server.bootstrap}, data in {server.data_dir}. Ctrl-C ends it.", flush=True
            )
            return server.wait()
    except LocalServerError as error:
        print(f"ops/kafka/run: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
