"""The story that all examples tell: a scanner's critical finding, a runbook that posts it to a chat and tags it, the
run that this causes. Never changed, because the examples are not.
"""

from datetime import UTC, datetime, timedelta

from msgspec import Raw

from outlast import ids
from outlast.contracts import messages
from outlast.runbooks.documents import canonical, digest

COMPANY = "acme"
RUNBOOK = "rb-7f3a"
BORN = datetime(2026, 3, 14, 9, 26, 53, 589000, UTC)
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
BORN_MS = int(BORN.timestamp() * 1000)
EXECUTION = ids.execution_id(BORN_MS, 4, COMPANY, "scanner/nightly", "scan-81/F-1042", RUNBOOK)
EARLIER = ids.execution_id(BORN_MS - 60_000, 4, COMPANY, "scanner/nightly", "scan-80/F-1007", "rb-0b11")
DEFINITION = canonical(
    {
        "name": "Page about critical findings",
        "rules": [
            {
                "event": "finding_created",
                "condition": {"field": "finding.severity", "op": "eq", "value": "critical"},
            }
        ],
        "actions": [
            {
                "id": "post",
                "type": "send_webhook",
                "class": "notify",
                "idempotent": False,
                "config": {
                    "url": "https://chat.example.com/hooks/7",
                    "body": {"text": "{{ finding.title }}"},
                },
            },
            {
                "id": "tag",
                "type": "add_finding_tags",
                "class": "finding",
                "idempotent": True,
                "config": {"tags": ["paged"]},
            },
        ],
    }
)

runbook = messages.RunbookReference(
    id=RUNBOOK, name="Page about critical findings", version=3, sha256=digest(DEFINITION)
)
event = messages.EventReference(
    source="scanner/nightly",
    id="scan-81/F-1042",
    type="finding_created",
    time=BORN,
    subject="findings/F-1042",
)
payload = Raw(
    canonical(
        {
            "event": {
                "type": event.type,
                "id": event.id,
                "source": event.source,
                "time": "2026-03-14T09:26:53.589000Z",
                "subject": event.subject,
                "data": {"finding_id": "F-1042", "asset_id": "A-17", "severity": "critical"},
            },
            "company": {"id": COMPANY},
            "finding": {
                "id": "F-1042",
                "title": "SQL injection in /tickets",
                "severity": "critical",
                "tags": [],
            },
            "asset": {"id": "A-17", "name": "shop", "owning_team": {"id": "T-4", "name": "Checkout"}},
        }
    )
)
refused = messages.ActionError(
    code="http_status",
    message="expected a status from 200 to 299, got 503",
    retryable=True,
    retry_after_seconds=30.0,
)
untemplated = messages.ActionError(
    code="template_failed", message="finding.cve is undefined", path="actions[0].config.body.text"
)


def at(seconds: float) -> datetime:
    """So long after the event."""
    return BORN + timedelta(seconds=seconds)
