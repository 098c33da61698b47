"""What becomes of a signal: its identity, the order of verdicts, its status, when it is sent again."""

import hashlib

from outlast_signal_delivery.limits import KEY_LOCKS, RESEND_SECONDS_FIRST, RESEND_SECONDS_MAX

NOT_FINAL = 1
"""Rank of "unknown" where the run's record exists: the engine is only late to hear of it."""
ANSWERED = 2
"""From this rank on the run has answered, and the signal is not sent to it again."""
RANKS = {"unknown": 2, "early": 3, "rejected": 4, "late": 5, "consumed": 6}
"""A verdict replaces one of a lower rank only, so that answers may come twice and in any order."""
OVER = ("late", "unknown")
"""Verdicts after which the run waits for nothing."""


def delivery_id(company_id: str, signal_id: str) -> str:
    """The UUID of this company's signal: everybody who knows its name knows its row."""
    text = hashlib.sha256(f"{company_id}\x00{signal_id}".encode()).hexdigest()
    return f"{text[:8]}-{text[8:12]}-8{text[13:16]}-8{text[17:20]}-{text[20:32]}"


def key_lock(company_id: str, name: str, key: str) -> int:
    """The lock under which signals and subscriptions with this key meet: neither may miss the other."""
    digest = hashlib.sha256(f"{company_id}\x00{name}\x00{key}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % KEY_LOCKS


def resend_seconds(attempts: int) -> int:
    """How long to wait for a verdict after so many sendings: 2, 4, 8 … 60 seconds."""
    return min(RESEND_SECONDS_MAX, RESEND_SECONDS_FIRST << min(max(attempts - 1, 0), 8))


def status_of(is_by_execution: bool, targets: int, delivered: int, unanswered: int, is_expired: bool) -> str:
    """pending | delivered | undeliverable | expired, from the verdicts alone.

    One run that took it (consumed, early) makes it delivered. To an execution it is undeliverable once that has
    answered otherwise; with a key it is kept for runs that may still come to wait.
    """
    if delivered:
        return "delivered"
    if is_by_execution and targets and not unanswered:
        return "undeliverable"
    return "expired" if is_expired else "pending"
