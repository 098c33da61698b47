"""Requests and answers as OpenAPI shows them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from outlast import limits
from outlast_signal_delivery.inbound import SIGNAL_ID_PATTERN

WITHOUT_NUL = r"^[^\x00]*$"
DURATION_PATTERN = r"^[0-9]{1,15}[smhd]$"
UUID_PATTERN = r"^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"

SignalName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=limits.SIGNAL_NAME_CHARACTERS_MAX, pattern=WITHOUT_NUL),
]
Key = Annotated[
    str,
    StringConstraints(min_length=1, max_length=limits.SIGNAL_KEY_CHARACTERS_MAX, pattern=WITHOUT_NUL),
]
SignalId = Annotated[str, StringConstraints(pattern=SIGNAL_ID_PATTERN)]


class NewSignal(BaseModel):
    """A signal to send: to one execution, or with a key to every run that waits for it."""

    model_config = ConfigDict(extra="forbid")

    name: SignalName
    execution_id: Annotated[str, StringConstraints(pattern=UUID_PATTERN)] | None = None
    """The run meant. Either this or `key`."""
    key: Key | None = None
    """What runs wait with, such as a finding's id. Either this or `execution_id`."""
    payload: Annotated[Any, Field(description="Any JSON, at most 64 KiB.")] = None
    id: SignalId | None = None
    """Chosen by the sender, so that sending it again is one signal; else generated."""
    for_future: bool = False
    """With a key: also for runs that start after it was sent."""
    expires_in: Annotated[str, StringConstraints(pattern=DURATION_PATTERN)] = "72h"
    """How long it is kept for runs that do not wait for it yet."""


class DeliveryShown(BaseModel):
    """What one run made of the signal."""

    execution_id: str
    verdict: Literal["consumed", "early", "late", "unknown", "rejected"] | None
    """None until the run has answered. early: kept for an await that may come."""
    answered_at: datetime | None


class SignalShown(BaseModel):
    """A signal and what became of it."""

    id: str
    name: str
    status: Literal["pending", "delivered", "undeliverable", "expired"]
    execution_id: str | None
    key: str | None
    for_future: bool
    sent_by: str
    sent_at: datetime
    expires_at: datetime
    deliveries: list[DeliveryShown]
    """The runs that it went to, the first thousand."""
    deliveries_count: int
    """How many there are."""
