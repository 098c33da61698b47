"""The gate under fire: a storm on fifty guarded runbooks while processes die and answers are lost.

One answer of the gate in twenty never reaches the matcher (the launcher drops it), the gate and everybody beside it are
killed at random, and its changelog topics are deleted while it is dead. At the end exactly the allowed firings ran, no
two runs with one key at the same time, and no settled run holds a slot.
"""

import json
import random
import sys
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from confluent_kafka.admin import AdminClient

from tests.faults.stack import COMPANY, PRODUCER, Stack, wait_until

RUNBOOKS = 50
KEYS = ("nmap", "nessus", "zap")
LIMIT = 5
"""Of the runbooks with a window of their own."""
VICTIMS = (
    "gate",
    "gate",
    "gate",
    "trigger_matcher",
    "trigger_matcher",
    "engine",
    "action_executor",
    "finalizer",
    "kafka",
)
THROTTLED = {"throttle_seconds": 3_600, "throttle_key": "{{ event.data.scanner }}"}
WINDOWED = {"throttles": [{"limit": LIMIT, "per": "1h"}, {"limit": 1_000, "per": "1d"}]}
SLOTTED = {"concurrency_key": "{{ event.data.scanner }}", "queue_limit": 10_000}
KINDS = (THROTTLED, WINDOWED, SLOTTED)


class Overlaps:
    """A receiver that is slow enough to see two runs of one key at the same time, and says so."""

    def __init__(self) -> None:
        self.doubled: list[str] = []
        self.calls: Counter[str] = Counter()
        lock, inside = threading.Lock(), dict[str, Counter[str]]()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(handler) -> None:
                body = json.loads(handler.rfile.read(int(handler.headers.get("content-length", 0))))
                execution = handler.headers.get("idempotency-key", "").partition(":")[0]
                with lock:
                    self.calls[execution] += 1
                    here = inside.setdefault(body["place"], Counter())
                    here[execution] += 1
                    others = [each for each, count in here.items() if count and each != execution]
                    if others and body["is_slotted"]:
                        self.doubled.append(f"{body['place']}: {execution} beside {others}")
                time.sleep(0.01)
                with lock:
                    here[execution] -= 1
                handler.send_response(200)
                handler.send_header("content-type", "application/json")
                handler.send_header("content-length", "2")
                handler.end_headers()
                handler.wfile.write(b"{}")

            def log_message(self, format: str, *args: object) -> None:
                """Nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: object, client_address: object) -> None:
                """Callers are killed here all the time."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


@dataclass
class GateOutcome:
    """What the outside saw."""

    firings: int = 0
    kills: int = 0
    ran: int = 0
    allowed: int = 0
    faults: list[str] = field(default_factory=list[str])


class GuardedStack(Stack):
    """The system with fifty guarded runbooks; each event fires one of them."""

    def _prepare(self) -> None:
        self.overlaps = Overlaps()
        self._put(f"/companies/{COMPANY}", {"name": "Faults"})
        self._put(f"/producers/{PRODUCER}", {"companies": [COMPANY]})
        for number in range(RUNBOOKS):
            guardrails = KINDS[number % len(KINDS)]
            body = {
                "place": f"{number}/{{{{ event.data.scanner }}}}",
                "is_slotted": "{{ " + ("true" if guardrails is SLOTTED else "false") + " }}",
            }
            document = {
                "name": f"guarded-{number}",
                "active": True,
                "guardrails": guardrails,
                "rules": [
                    {
                        "event": "scan_finished",
                        "condition": {
                            "all": [{"field": "event.data.target", "op": "eq", "value": f"host-{number}"}]
                        },
                    }
                ],
                "actions": [
                    {
                        "type": "http_request",
                        "config": {"method": "POST", "url": self.overlaps.url, "body": body},
                    }
                ],
            }
            self._put(f"/runbooks/guarded-{number}", document)

    def storm(self, count: int, rng: random.Random) -> None:
        """So many firings over all the runbooks; one in ten is sent twice."""
        for number in range(count):
            event_id = str(uuid.uuid4())
            for _ in range(2 if rng.random() < 0.1 else 1):
                self._produce(
                    event_id,
                    scanner=KEYS[(number // RUNBOOKS) % len(KEYS)],
                    target=f"host-{number % RUNBOOKS}",
                )
            self.sent.append(event_id)
            self.producer.poll(0)
        self.deliver()

    def lose_changelogs(self) -> None:
        """The gate dies, and its tables' changelog topics are deleted before it is back."""
        self.kill("gate")
        admin = AdminClient({"bootstrap.servers": self.kafka, "log_level": 2})
        names = [name for name in admin.list_topics(timeout=10).topics if name.endswith("-changelog")]
        for future in admin.delete_topics(names).values() if names else ():
            future.result(timeout=10)
        print(f"faults: the gate lost {len(names)} changelog topics", file=sys.stderr, flush=True)

    def standing(self) -> dict[str, int]:
        """How many firings there are of each status that is not closed."""
        rows = self.rows(
            "select status, count(*) from dispatch.dispatches where closed_at is null group by 1"
        )
        return {row["status"]: row["count"] for row in rows}

    def gate_outcome(self) -> GateOutcome:
        """Everything that can be said from outside, and from the views and rows that are contracts."""
        runs = self.rows(
            "select runbook_name, status, reason, count(*) from records_read.runs_v1"
            " where company_id = $1 group by 1, 2, 3",
            COMPANY,
        )
        (dispatches,) = self.rows(
            "select count(*) filter (where closed_at is null) as unclosed, count(*) filter (where slot_taken_at is not"
            " null and slot_freed_at is null and settled_at is not null) as leaked from dispatch.dispatches"
        )
        leaked, unclosed = dispatches["leaked"], dispatches["unclosed"]
        outcome = GateOutcome(firings=len(self.sent), kills=self.kills)
        ran, seen = Counter[str](), Counter[str]()
        for row in runs:
            seen[row["runbook_name"]] += row["count"]
            if row["status"] == "success":
                ran[row["runbook_name"]] += row["count"]
            elif (row["status"], row["reason"]) != ("skipped", "throttled"):
                outcome.faults.append(
                    f"{row['runbook_name']}: {row['count']} {row['status']} {row['reason']}"
                )
        outcome.ran = sum(ran.values())
        for number in range(RUNBOOKS):
            name = f"guarded-{number}"
            sent = sum(each % RUNBOOKS == number for each in range(len(self.sent)))
            allowed = min(sent, (len(KEYS), LIMIT, sent)[number % len(KINDS)])
            outcome.allowed += allowed
            if seen[name] != sent:
                outcome.faults.append(f"{name}: {seen[name]} records of {sent} firings")
            if ran[name] != allowed:
                outcome.faults.append(f"{name}: {ran[name]} ran, {allowed} were allowed")
        if leaked or unclosed:
            outcome.faults.append(f"{leaked} slots held by settled runs, {unclosed} dispatches not closed")
        outcome.faults += self.overlaps.doubled[:5]
        return outcome

    def close(self) -> None:
        """Take it down."""
        self.overlaps.close()
        super().close()


def run_gate_under_fire(
    folder: Path, *, firings: int, kills: int, seed: int, settle_seconds: float
) -> GateOutcome:
    """Storm in waves, a death between each, the changelogs lost once; then rest."""
    rng = random.Random(seed)
    stack = GuardedStack(folder, drops_answers=20)
    try:
        wave = max(RUNBOOKS * len(KEYS), firings // (kills + 1))
        for number in range(kills):
            stack.storm(wave, rng)
            time.sleep(rng.random())  # the moments themselves are what is random here
            victim = VICTIMS[number] if number < len(VICTIMS) else rng.choice(VICTIMS)
            if number == kills // 2:
                stack.lose_changelogs()
            else:
                stack.kill(victim)
                print(f"faults: killed {victim}", file=sys.stderr, flush=True)
        stack.storm(wave, rng)
        try:
            wait_until(lambda: stack.finished() >= len(stack.sent), settle_seconds, "an end of every firing")
        except AssertionError as late:
            raise AssertionError(
                f"{late}: {stack.finished()} of {len(stack.sent)} ended; {stack.standing()}"
            ) from late
        wait_until(lambda: not stack.gate_outcome().faults, 60, f"rest: {stack.gate_outcome().faults[:5]}")
        return stack.gate_outcome()
    finally:
        stack.close()
