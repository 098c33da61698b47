"""Errors are named by the reaction they need.

OutlastError
+- TransientError        try again, after `retry_after_seconds` where it is known
+- PermanentError        never try again: dead letter, or a failed activity
|  +- ContractError      the bytes are not what the contract says
|  +- UnknownName        an action, a runbook or a trigger that nobody registered
|  +- LimitExceeded      `limit` and `value` say which
+- DataRejected          the database refused a row's content: bisect the batch to the one message
+- Fenced                a newer owner has the partition: drop it, write nothing

Expected outcomes (a late result, a condition that is false) are values, never exceptions.
"""


class OutlastError(Exception):
    """Base of all our errors."""


class TransientError(OutlastError):
    """Try again later; `retry_after_seconds` is what the other side asked for, None if it said nothing."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class PermanentError(OutlastError):
    """Trying again cannot help."""


class ContractError(PermanentError):
    """Expected a message as contracts/ describes it; `path` points at the first fault, "" for the whole."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


class UnknownName(PermanentError):
    """A name that nobody registered."""


class LimitExceeded(PermanentError):
    """A named limit was passed."""

    def __init__(self, limit: str, limit_value: int, value: int) -> None:
        super().__init__(f"expected at most {limit_value} ({limit}), got {value}")
        self.limit = limit
        self.limit_value = limit_value
        self.value = value


class DataRejected(OutlastError):
    """The database refused the content of some row of a batch (not the batch as such)."""


class Fenced(OutlastError):
    """A newer epoch owns the partition, or the stored offset is not the one expected."""
