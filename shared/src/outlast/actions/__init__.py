"""What an action type is. A third party imports this and nothing of the executor (docs/actions.md shows one whole).

from outlast.actions import ActionFailed, ActionOutcome, ActionType, ActivityCall
"""

from outlast.actions.calls import ActionFailed, ActionOutcome, ActivityCall
from outlast.actions.ports import (
    FindingOperation,
    Findings,
    HttpRequest,
    HttpResponse,
    Mail,
    Mailer,
    MailReceipt,
    MailRefusal,
    Outside,
)
from outlast.actions.types import ACTION_CLASSES, ENTRY_POINTS, ActionType

__all__ = [
    "ACTION_CLASSES",
    "ENTRY_POINTS",
    "ActionFailed",
    "ActionOutcome",
    "ActionType",
    "ActivityCall",
    "FindingOperation",
    "Findings",
    "HttpRequest",
    "HttpResponse",
    "Mail",
    "MailReceipt",
    "MailRefusal",
    "Mailer",
    "Outside",
]
