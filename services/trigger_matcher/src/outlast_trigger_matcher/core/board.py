"""The dispatch decides: what the gate advises, what runs come to and what people order, done to rows.

A board is what one transaction has before it: the rows that a batch names, locked, and what their runbooks have given
out, under the lock of each runbook. Whoever is wrong, late or says it twice, no more than `limit` slots of a key and
no more than `limit` firings of a window are ever given out here.
"""

from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from msgspec.structs import replace

from outlast.contracts.guarding import Verdict
from outlast.contracts.messages import Start
from outlast_trigger_matcher.core.crowds import full_window
from outlast_trigger_matcher.core.rows import UNSENT, Admission, Dispatch, Guard, SlotKey, WindowKey

OVER = 2**62
"""After the end of a run nothing that it said before moves its slot."""
SILENCE = timedelta(seconds=4)
"""A first question to the gate without an answer for so long shows on the firing's record."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Whether a runbook may fire at all."""

    is_active: bool = True
    is_open: bool = False
    """Its breaker."""
    generation: int = 0

    @property
    def objection(self) -> str:
        """Why it may not; "" if it may."""
        if self.is_open:
            return "breaker_open"
        return "" if self.is_active else "inactive"


class Board:
    """Rows by id, slots held by key, entries by window (the latest `limit` of them, in order)."""

    def __init__(
        self,
        rows: Iterable[Dispatch],
        held: Mapping[SlotKey, int],
        entries: Mapping[WindowKey, list[datetime]],
        now: datetime,
    ) -> None:
        self.rows = {row.id: row for row in rows}
        self.held = dict(held)
        self.entries = {key: list(times) for key, times in entries.items()}
        self.now = now
        self.changed: dict[str, None] = {}
        self.moved: dict[str, None] = {}
        """Those of the changed that came to another status, or have something else to say of it."""
        self.admissions: list[Admission] = []
        self.released: dict[str, None] = {}
        """Those whom the gate must not keep a place for, whether it knew or not."""

    # ---- what the gate says ----------------------------------------------------------------------------------

    def advise(self, verdict: Verdict, standing: Callable[[str, str], Standing]) -> None:
        """The gate's word on one execution."""
        row = self.rows.get(verdict.id)
        if row is None or row.guard is None:
            return
        if row.status not in ("requested", "queued"):
            if row.resuming_seq and verdict.verdict == "admitted":
                self._grant(row)
            elif row.has_left or row.closed_at is not None:
                self.released[row.id] = None
            return
        stands = standing(*row.runbook)
        if stands.objection:
            self.suppress(row.id, stands.objection)
        elif row.status == "requested":
            self._first_word(row, row.guard, verdict, stands)
        elif verdict.verdict == "admitted" and self._is_free(row):
            self._send(row, stands)

    def _first_word(self, row: Dispatch, guard: Guard, verdict: Verdict, stands: Standing) -> None:
        if verdict.verdict == "skipped":
            self._end(row, "skipped", verdict.reason or "throttled", verdict.detail)
            return
        full = full_window(row, guard, self.entries)
        if full is not None:
            self.released[row.id] = None
            detail = f"at most {full.limit} in {full.seconds:g} s"
            self._end(row, "skipped", "throttled", detail)
            return
        is_free = verdict.verdict == "admitted" and self._is_free(row)
        slot = guard.slot
        if not is_free and slot is not None and slot.on_conflict == "skip":
            self.released[row.id] = None
            self._end(row, "skipped", "slot_taken", f"at most {slot.limit} at a time")
            return
        self._enter(row)
        if is_free or slot is None:
            self._send(row, stands)
            return
        age = timedelta(seconds=guard.queue_age_seconds)
        expires_at = self.now + age if age else None
        self._move(row, status="queued", reason="slot_taken", asked_at=self.now, expires_at=expires_at)

    def _enter(self, row: Dispatch) -> None:
        assert row.guard is not None
        for window in row.guard.windows:
            key = (*row.runbook, window.key)
            insort(self.entries.setdefault(key, []), row.received_at)
            until = row.received_at + timedelta(seconds=window.seconds)
            self.admissions.append(Admission(key, row.received_at, row.id, until))

    def _is_free(self, row: Dispatch) -> bool:
        key = row.slot_key
        if key is None or row.guard is None or row.guard.slot is None:
            return True
        return self.held.get(key, 0) < row.guard.slot.limit

    def _take(self, row: Dispatch) -> dict[str, object]:
        key = row.slot_key
        if key is None:
            return {}
        self.held[key] = self.held.get(key, 0) + 1
        return {"slot_taken_at": self.now, "slot_freed_at": None}

    def _send(self, row: Dispatch, stands: Standing) -> None:
        taken = self._take(row)
        self._move(
            row,
            status="sent",
            reason="",
            asked_at=None,
            expires_at=None,
            start=sent_start(row, stands),
            **taken,
        )

    def _grant(self, row: Dispatch) -> None:
        if not row.has_slot and not self._is_free(row):
            return
        taken = {} if row.has_slot else self._take(row)
        self._put(row, granted_seq=row.resuming_seq, resuming_seq=0, asked_at=None, **taken)

    # ---- what runs come to -----------------------------------------------------------------------------------

    def finish(self, execution_id: str) -> None:
        """The run is over: its slot is free."""
        row = self.rows.get(execution_id)
        if row is not None and row.slot_key is not None and row.slot_seq < OVER:
            self._free(row, slot_seq=OVER, resuming_seq=0)
        elif row is not None and row.has_slot:
            self._free(row)

    def wait(self, execution_id: str, seq: int) -> None:
        """The run waits and gives its slot back meanwhile."""
        row = self.rows.get(execution_id)
        if row is not None and row.status == "sent" and seq > row.slot_seq:
            self._free(row, slot_seq=seq, resuming_seq=0)

    def resume(self, execution_id: str, seq: int) -> None:
        """The run's wait is over: it asks for a slot, or hears again that it has one."""
        row = self.rows.get(execution_id)
        if row is None or row.status != "sent" or row.slot_key is None:
            return
        if seq > row.slot_seq and row.has_slot:  # nobody told us that it waits: it has given nothing back
            self._put(row, slot_seq=seq, granted_seq=seq)
        elif seq > row.slot_seq:
            self._put(row, slot_seq=seq, resuming_seq=seq, asked_at=self.now)
        elif seq == row.slot_seq and (row.resuming_seq or row.granted_seq == seq):
            self._put(row, asked_at=self.now if row.resuming_seq else row.asked_at)

    def _free(self, row: Dispatch, **more: object) -> None:
        key = row.slot_key
        if row.has_slot and key is not None:
            self.held[key] = max(0, self.held.get(key, 0) - 1)
            more["slot_freed_at"] = self.now
        self.released[row.id] = None
        self._put(row, **more)

    # ---- what time and people bring --------------------------------------------------------------------------

    def suppress(self, execution_id: str, reason: str) -> None:
        """The runbook may not fire any more: what is not sent is held back."""
        row = self.rows.get(execution_id)
        if row is not None and row.status in UNSENT:
            self.released[row.id] = None
            self._end(row, "suppressed", reason, "")

    def expire(self, execution_id: str) -> None:
        """It has stood in the queue for too long."""
        row = self.rows.get(execution_id)
        is_over = row is not None and row.expires_at is not None and row.expires_at <= self.now
        if row is not None and row.status == "queued" and is_over:
            age = row.guard.queue_age_seconds if row.guard else 0.0
            self.released[row.id] = None
            self._end(row, "skipped", "queue_age", f"not served within {age:g} s")

    def cancel(self, execution_id: str, company_id: str, order: bytes, by: str, reason: str) -> bool:
        """End it now, or pass the order on to who runs it. False if there is nothing to cancel."""
        row = self.rows.get(execution_id)
        if row is None or row.start.company_id != company_id:
            return False
        if row.status in UNSENT:
            self.released[row.id] = None
            self._end(row, "cancelled", "cancelled", reason, by)
            return True
        if row.status != "sent" or row.closed_at is not None:
            return False
        self._put(row, cancel=row.cancel or order)
        return True

    def ask_again(self, execution_id: str) -> None:
        """There was no answer: it is asked once more, under the same id. After a long silence it is said to wait."""
        row = self.rows.get(execution_id)
        if row is None or row.guard is None:
            return
        is_new = row.status == "requested" and not row.reason
        if is_new and self.now - row.changed_at >= SILENCE:
            self.moved[row.id] = None
            self._put(row, asked_at=self.now, reason="gate_silent")
        elif row.status in ("requested", "queued") or row.resuming_seq:
            self._put(row, asked_at=self.now)

    def proceed(self, execution_id: str, standing: Callable[[str, str], Standing]) -> None:
        """What held it (the company's limit, the engine) is over: it asks the gate, or starts."""
        row = self.rows.get(execution_id)
        if row is None or row.status not in ("deferred", "held"):
            return
        stands = standing(*row.runbook)
        if stands.objection:
            self.suppress(row.id, stands.objection)
        elif row.guard is not None:
            self._move(row, status="requested", reason="", asked_at=self.now)
        else:
            self._send(row, stands)

    def defer(self, execution_id: str) -> None:
        """What held it is over, and its company has no room: it waits its turn."""
        row = self.rows.get(execution_id)
        if row is not None and row.status == "held":
            self._move(row, status="deferred", reason="company_limit")

    def answer(self, execution_id: str) -> None:
        """The order about this suppressed firing is carried out."""
        row = self.rows.get(execution_id)
        if row is not None:
            self._put(row, is_answered=True)

    def drop_answer(self, execution_id: str) -> None:
        """The order about this suppressed firing cannot be carried out: it is open again."""
        row = self.rows.get(execution_id)
        if row is not None:
            self._put(row, answer=None, answered_by="")

    # ---- writing ---------------------------------------------------------------------------------------------

    def _end(self, row: Dispatch, status: str, reason: str, detail: str, by: str = "") -> None:
        self._move(
            row, status=status, reason=reason, detail=detail, ended_by=by, settled_at=self.now, asked_at=None,
            expires_at=None,
        )  # fmt: skip

    def _move(self, row: Dispatch, **fields: object) -> None:
        self.moved[row.id] = None
        self._put(row, changed_at=self.now, **fields)

    def _put(self, row: Dispatch, **fields: object) -> None:
        self.rows[row.id] = replace(row, version=row.version + 1, **fields)
        self.changed[row.id] = None


def sent_start(row: Dispatch, stands: Standing) -> Start:
    """The start as it goes out: with the breaker's generation, and whether it holds a slot."""
    is_slotted = row.slot_key is not None
    origin = replace(
        row.start.origin,
        generation=stands.generation,
        is_slotted=is_slotted,
        releases_slot=is_slotted and row.guard is not None and row.guard.releases_slot,
    )
    return replace(row.start, origin=origin)
