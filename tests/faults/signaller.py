"""Whoever approves: sends each run its signal by correlation, some before the run awaits it, until it is accepted."""

import heapq
import threading
import time
import zlib

import httpx

LATE_SECONDS = 3.0
RETRY_SECONDS = 0.3
LIST_MAX = 10


class Signaller:
    """A thread with a heap of what is to be sent when. A signal's id is its key: sent again, it is the same signal."""

    def __init__(self, url: str, admin_key: str, company: str, name: str) -> None:
        self._name = name
        self._api = httpx.Client(
            base_url=f"{url}/api/v1",
            headers={"authorization": f"Bearer {admin_key}"},
            params={"company": company},
            timeout=10,
            trust_env=False,
        )
        self._due: list[tuple[float, str]] = []
        self._refused: list[str] = []
        self._changed = threading.Condition()
        self._is_closed = False
        self._is_holding = False
        threading.Thread(target=self._run, daemon=True).start()

    def send(self, key: str) -> None:
        """Half of them at once, which is early; the others when the run may be waiting."""
        delay = LATE_SECONDS if zlib.crc32(key.encode()) % 2 else 0.0
        self._add(time.monotonic() + delay, key)

    def _add(self, at: float, key: str) -> None:
        with self._changed:
            heapq.heappush(self._due, (at, key))
            self._changed.notify()

    def hold(self, is_holding: bool) -> None:
        """Send nothing for now, or go on."""
        with self._changed:
            self._is_holding = is_holding
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._is_closed and not self._is_next_due():
                    is_waiting = self._due and not self._is_holding
                    self._changed.wait(max(0.01, self._due[0][0] - time.monotonic()) if is_waiting else None)
                if self._is_closed:
                    return
                _, key = heapq.heappop(self._due)
            if not self._send(key):
                self._add(time.monotonic() + RETRY_SECONDS, key)

    def _is_next_due(self) -> bool:
        return bool(self._due) and not self._is_holding and self._due[0][0] <= time.monotonic()

    def _send(self, key: str) -> bool:
        body = {"name": self._name, "key": key, "id": key, "for_future": True, "payload": {"by": "faults"}}
        try:
            response = self._api.post("/signals", json=body)
        except httpx.TransportError:
            return False
        if response.status_code < 500:
            if response.is_error:
                self._refused.append(f"{key}: {response.status_code} {response.text[:200]}")
            return True
        return False

    def faults(self, keys: list[str]) -> list[str]:
        """What was refused, what is not sent yet, and every signal that was not consumed by exactly one run."""
        found = list(self._refused[:LIST_MAX])
        with self._changed:
            if self._due:
                found.append(f"{len(self._due)} signals are not sent yet")
        for key in keys:
            try:
                shown = self._api.get(f"/signals/{key}")
            except httpx.TransportError as fault:
                return [*found, f"signal {key}: {fault}"]
            verdicts = [each["verdict"] for each in shown.json().get("deliveries", [])]
            if verdicts != ["consumed"]:
                found.append(f"signal {key} is {shown.json().get('status')} with {verdicts}")
                if len(found) > LIST_MAX:
                    break
        return found

    def close(self) -> None:
        """Stop."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._api.close()
