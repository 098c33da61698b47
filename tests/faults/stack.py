"""The real system under the real supervisor, with ways to kill it and an outside view of what came of it."""

import asyncio
import json
import os
import random
import shutil
import signal
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx
import psutil
from confluent_kafka import KafkaException, Producer

from outlast_local import down, status, up
from tests.faults.receiver import Receiver
from tests.faults.signaller import Signaller

COMPANY = "faults"
PRODUCER = "faults"
RUNBOOK = "posts-and-waits"
SERVICES = ("trigger_matcher", "engine", "action_executor", "finalizer", "timer_scheduler", "signal_delivery")
EVERYTHING: tuple[str, ...] = ("platform", "control_plane", *SERVICES, "kafka", "postgres")
SIGNAL = "approved"
INJECT = str(Path(__file__).parent / "inject")
READY_SECONDS = 150.0


@dataclass
class Outcome:
    """What the outside saw."""

    events: int = 0
    kills: int = 0
    lost: int = 0
    not_successful: int = 0
    repeated_after_record: int = 0
    in_flight_doubles: int = 0
    unknown_resolved: int = 0
    faults: list[str] = field(default_factory=list)


class Stack:
    """One system in a folder of its own."""

    def __init__(self, folder: Path, *, drops_answers: int = 0, mode: str = "workflow") -> None:
        """`drops_answers` n: one of n answers of the gate never reaches the matcher."""
        self.folder = folder
        self.control = folder / "control.json"
        self.receiver = Receiver()
        self.kills = 0
        self.sent: list[str] = []
        os.environ["FAULTS_CONTROL"] = str(self.control)
        os.environ["FAULTS_DROP_ANSWERS"] = str(drops_answers)
        os.environ["PYTHONPATH"] = INJECT
        os.environ["OUTLAST_EGRESS_ALLOW"] = "127.0.0.0/8"
        os.environ["PMAP_RUNBOOK_ENGINE"] = mode
        try:
            running = up(run_dir=folder / "run", owner_pid=os.getpid())
        finally:
            del os.environ["PYTHONPATH"], os.environ["FAULTS_CONTROL"], os.environ["FAULTS_DROP_ANSWERS"]
        self.kafka = running.kafka_bootstrap
        self.dsn = running.postgres_dsn
        self.api = httpx.Client(
            base_url=f"{running.control_plane_url}/api/v1",
            headers={"authorization": f"Bearer {running.admin_key}"},
            params={"company": COMPANY},
            timeout=30,
            trust_env=False,
        )
        self.producer = self._new_producer()
        self._refused: list[tuple[str, bytes]] = []
        self.signaller = Signaller(
            running.processes["signal_delivery"].links["api"], running.admin_key, COMPANY, SIGNAL
        )
        self._saved: set[str] = set()
        """Where runbooks were put."""
        try:
            self._prepare()
            self._await_known()
        except BaseException:
            self.close()
            raise

    def _await_known(self) -> None:
        """What is saved is live a moment later; an event that comes before that fires nothing."""
        metrics = status(run_dir=self.folder / "run").processes["trigger_matcher"].links["metrics"]
        known = f"\noutlast_runbooks_known {float(len(self._saved))}\n"
        wait_until(lambda: known in httpx.get(metrics, trust_env=False).text, READY_SECONDS, known.strip())

    def _prepare(self) -> None:
        action = {
            "type": "http_request",
            "config": {"method": "POST", "url": self.receiver.url, "body": {"n": "{{ event.id }}"}},
        }
        document = {
            "name": RUNBOOK,
            "active": True,
            "rules": [{"event": "scan_finished"}],
            "actions": [
                {**action, "id": "first"},
                {"id": "nap", "type": "sleep", "config": {"duration": "1s"}},
                {**action, "id": "second"},
                {"id": "gate", "type": "await_signal", "config": {"signal": SIGNAL, "key": "{{ event.id }}"}},
                {**action, "id": "third"},
            ],
        }
        self._put(f"/companies/{COMPANY}", {"name": "Faults"})
        self._put(f"/producers/{PRODUCER}", {"companies": [COMPANY]})
        self._put(f"/runbooks/{RUNBOOK}", document)

    def _put(self, path: str, body: object) -> None:
        def done() -> bool:
            response = self.api.put(path, json=body)
            if response.status_code >= 500:
                return False
            response.raise_for_status()
            return True

        wait_until(done, READY_SECONDS, f"PUT {path}")
        if path.startswith("/runbooks/"):
            self._saved.add(path)

    # ---- events ----------------------------------------------------------------------------------------------

    def emit(self, count: int, per_second: float = 0.0) -> None:
        """Produce that many events, evenly at a rate, or at once."""
        began = time.monotonic()
        for number in range(count):
            event_id = str(uuid.uuid4())
            self._produce(event_id, scanner="nmap", target="host")
            self.sent.append(event_id)
            self.signaller.send(event_id)
            self.producer.poll(0)
            if per_second:
                time.sleep(max(0.0, began + (number + 1) / per_second - time.monotonic()))
        self.deliver()

    def deliver(self) -> None:
        """As a producer must: what the broker did not take goes again, until it has everything."""
        deadline = time.monotonic() + READY_SECONDS
        while self.producer.flush(5) or self._refused:
            assert time.monotonic() < deadline, f"events not taken by the broker: {len(self._refused)}"
            # what is under way would go with the producer
            if self._refused and not self.producer.flush(0):
                time.sleep(0.2)  # the topic is being made again
                again, self._refused = self._refused, []
                self.producer = self._new_producer()  # the old one may have met a fatal error
                for event_id, envelope in again:
                    self._send(event_id, envelope)

    def _new_producer(self) -> Producer:
        return Producer(
            {"bootstrap.servers": self.kafka, "enable.idempotence": True, "log_level": 2,
             "message.timeout.ms": 20_000}
        )  # fmt: skip

    def _send(self, event_id: str, envelope: bytes) -> None:
        def told(error: object, _: object) -> None:
            if error is not None:
                self._refused.append((event_id, envelope))

        try:
            self.producer.produce(
                f"platform.{PRODUCER}.events", envelope, key=event_id.encode(), on_delivery=told
            )
        except KafkaException as fault:  # at once, where the topic is known to be gone
            told(fault, None)

    def _produce(self, event_id: str, *, scanner: str, target: str) -> None:
        """One event; whoever calls again with the id sends it twice."""
        data = {
            "scanner": scanner, "target": target, "severity_counts": {"critical": 1}, "scan_id": event_id,
        }  # fmt: skip
        envelope = {
            "specversion": "1.0", "id": event_id, "source": "faults/driver", "type": "scan_finished",
            "companyid": COMPANY, "datacontenttype": "application/json", "data": data,
        }  # fmt: skip
        self._send(event_id, json.dumps(envelope).encode())

    # ---- deaths ----------------------------------------------------------------------------------------------

    def kill(self, name: str) -> int | None:
        """SIGKILL a process; of Postgres the whole process group with every backend.

        Returns how often it had been started again till then; None when it was just being started again, and lives.
        """
        known = status(run_dir=self.folder / "run").processes.get(name)
        if known is None or known.pid is None:
            return None
        try:
            victims = [psutil.Process(known.pid)]
            if name == "postgres":
                victims += victims[0].children(recursive=True)
            for victim in victims:
                victim.send_signal(signal.SIGKILL)
            self.kills += 1
        except psutil.NoSuchProcess:
            pass  # dead already, and not yet started again
        return known.restarts

    def kill_and_await(self, name: str) -> None:
        """Kill it for sure, and wait until its next life is ready."""
        killed: list[int] = []

        def is_killed() -> bool:
            restarts = self.kill(name)
            killed.extend(() if restarts is None else (restarts,))
            return restarts is not None

        wait_until(is_killed, READY_SECONDS, f"a {name} to kill")
        wait_until(lambda: self._is_back(name, killed[0]), READY_SECONDS, f"restart of {name}")

    def kill_everything(self) -> None:
        """Every process of the system within milliseconds, the supervisor excepted."""
        for name in EVERYTHING:
            self.kill(name)

    def lose_broker(self) -> None:
        """The broker dies and all its data with it; returns when the supervisor has started an empty one. Everybody
        else lives.

        The data goes first: a broker that is started again at once must not find it.
        """
        (self.folder / "run" / "data" / "kafka").rename(self.folder / f"lost-{self.kills}")
        self.kill_and_await("kafka")

    def dispatched(self) -> int:
        """Events of this company that are accepted: their runs are in the matcher's rows."""
        return self._count("select count(*) from dispatch.dispatches where company_id = $1")

    def arm(self, service: str, point: str, nth: int) -> str:
        """The next life of the service dies when it passes the point for the nth time. Returns the token."""
        token = uuid.uuid4().hex
        self.control.write_text(json.dumps({"service": service, "point": point, "nth": nth, "token": token}))
        self.kill_and_await(service)
        return token

    def is_ready(self, name: str) -> bool:
        """Whether this process answers."""
        known = status(run_dir=self.folder / "run").processes.get(name)
        return known is not None and known.condition.value == "ready"

    def _is_back(self, service: str, restarts: int) -> bool:
        known = status(run_dir=self.folder / "run").processes[service]
        return known.restarts > restarts and known.condition.value == "ready"

    def has_struck(self, token: str) -> bool:
        """Whether the armed process has died at its point."""
        fired = Path(f"{self.control}.fired")
        if fired.exists() and token in fired.read_text():
            self.kills += 1
            return True
        return False

    # ---- what came of it -------------------------------------------------------------------------------------

    def finished(self) -> int:
        """Runs of this company that have ended, as the records have them."""
        query = "select count(*) from records_read.runs_v1 where company_id = $1 and finished_at is not null"
        return self._count(query)

    def rows(self, query: str, *arguments: object) -> list[asyncpg.Record]:
        """What a query says, past every proxy."""

        async def ask() -> list[asyncpg.Record]:
            connection = await asyncpg.connect(self.dsn, timeout=5)
            try:
                return await connection.fetch(query, *arguments)
            finally:
                await connection.close()

        return asyncio.run(ask())

    def _count(self, query: str) -> int:
        """Of this company's; -1 while nobody answers."""
        try:
            return self.rows(query, COMPANY)[0][0]
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
            return -1

    def await_finished(self, seconds: float) -> bool:
        """Wait until every event sent has a finished run."""
        deadline = time.monotonic() + seconds
        while self.finished() < len(self.sent):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def outcome(self) -> Outcome:
        """Everything that can be said from outside, and from the views that are contracts."""
        return asyncio.run(self._outcome())

    async def _outcome(self) -> Outcome:
        connection = await asyncpg.connect(self.dsn)
        try:
            runs = await connection.fetch("select * from records_read.runs_v1 where company_id = $1", COMPANY)
            history = await connection.fetch(
                "select h.* from engine_read.history_v1 h join records_read.runs_v1 r using (execution_id)"
                " where r.company_id = $1 order by execution_id, seq", COMPANY,
            )  # fmt: skip
            unclosed = await connection.fetchval(
                "select count(*) from dispatch.dispatches where closed_at is null"
            )
            still_open = await connection.fetchval("select count(*) from engine.open")
        finally:
            await connection.close()
        outcome = Outcome(events=len(self.sent), kills=self.kills)
        outcome.faults += self.signaller.faults(self.sent)
        by_event = Counter(run["event_id"] for run in runs)
        outcome.lost = sum(by_event[event] == 0 for event in self.sent)
        outcome.faults += [
            f"event {event} has {count} runs" for event, count in by_event.items() if count != 1
        ]
        outcome.not_successful = sum(run["status"] != "success" for run in runs)
        self._check_histories(history, outcome)
        if unclosed or still_open:
            outcome.faults.append(f"{unclosed} dispatches not closed, {still_open} runs still open")
        if len(self.receiver.calls) != 3 * len(self.sent):
            outcome.faults.append(
                f"expected {3 * len(self.sent)} keys at the receiver, got {len(self.receiver.calls)}"
            )
        return outcome

    def _check_histories(self, history: list[asyncpg.Record], outcome: Outcome) -> None:
        """Gapless, one outcome an activity, and every double call explained by an attempt of unknown outcome."""
        expected: Counter[str] = Counter()
        outcomes: Counter[str] = Counter()
        resolved: set[str] = set()
        for row in history:
            execution_id = str(row["execution_id"])
            expected[execution_id] += 1
            if row["seq"] != expected[execution_id]:
                outcome.faults.append(
                    f"{execution_id}: expected sequence {expected[execution_id]}, got {row['seq']}"
                )
            if row["type"].startswith(("activity_completed", "activity_failed")):
                event = json.loads(row["data"])
                key = f"{execution_id}:{event['activity_id']}:main"
                outcomes[f"{key} attempt {event['attempt']}"] += 1
                if event.get("resolved"):
                    resolved.add(key)
        outcome.faults += [f"{key} has {count} outcomes" for key, count in outcomes.items() if count != 1]
        doubled = {key: count for key, count in self.receiver.calls.items() if count > 1}
        outcome.in_flight_doubles = sum(doubled.values()) - len(doubled)
        outcome.unknown_resolved = len(resolved)
        outcome.repeated_after_record = sum(key not in resolved for key in doubled)

    def close(self) -> None:
        """Take it down."""
        self.signaller.close()
        self.receiver.close()
        self.api.close()
        down(run_dir=self.folder / "run")


@contextmanager
def own_folder() -> Iterator[Path]:
    """A folder for one scenario, which is gone afterwards; where it or what is asserted of it fails, it stays for its
    logs and its data.
    """
    folder = Path(tempfile.mkdtemp(prefix="outlast-faults-"))
    folder.chmod(0o711)  # Postgres runs as another user if we are root, and must pass through
    try:
        yield folder
    except BaseException as fault:
        fault.add_note(f"its logs and data are in {folder}")
        raise
    shutil.rmtree(folder, ignore_errors=True)


def wait_until(holds: "object", seconds: float, what: str) -> None:
    """Wait for a condition with a deadline; exceptions of a system that is coming up count as not yet."""
    deadline = time.monotonic() + seconds
    problem: object = None
    while time.monotonic() < deadline:
        try:
            if holds():  # type: ignore[operator]
                return
        except (httpx.TransportError, OSError) as fault:
            problem = fault
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds:g} s ({problem})")


def random_victims(seed: int, count: int) -> list[str]:
    """Every process at least once, then by chance; the same for the same seed."""
    rng = random.Random(seed)
    first = list(EVERYTHING)
    rng.shuffle(first)
    return (first + rng.choices(EVERYTHING, k=max(0, count - len(first))))[:count]
