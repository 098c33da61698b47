"""Examples of the domain events, as whole CloudEvents."""

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
from msgspec import Raw

from outlast.contracts import domain_events
from outlast.messaging.cloudevents import CloudEvent
from outlast.testing.contracts.story import BORN, COMPANY, EARLIER, EXECUTION, TRACEPARENT, at


def event_examples() -> Iterator[tuple[str, CloudEvent]]:
    """Each with the name of its case."""
    for data in _event_data():
        kind = domain_events.event_type_of(data)
        yield (
            "nightly",
            CloudEvent(
                id=f"scan-81/{kind}",
                source="scanner/nightly",
                type=kind,
                company_id=COMPANY,
                data=Raw(msgspec.json.encode(data)),
                time=BORN,
                subject=_subject(data),
                traceparent=TRACEPARENT,
            ),
        )
    yield (
        "caused_by_a_run",
        CloudEvent(
            id="change-5501",
            source="outlast/platform",
            type="finding_updated",
            company_id=COMPANY,
            data=Raw(b'{"finding_id":"F-1042","asset_id":"A-17","changed":["tags"],"tags":["paged"]}'),
            time=at(0.415),
            subject="F-1042",
            traceparent=TRACEPARENT,
            chain=(EARLIER, EXECUTION),
        ),
    )
    yield (
        "weekday_morning",
        CloudEvent(
            id="cron:rb-7:0:2026-01-05T08:00:00Z",
            source=domain_events.TIMER_SCHEDULER,
            type=domain_events.SCHEDULE,
            company_id=COMPANY,
            data=Raw(
                b'{"scheduled_at":"2026-01-05T08:00:00Z","cron":"0 9 * * mon-fri","timezone":"Europe/Berlin",'
                b'"runbook_id":"rb-7","rule":0,"is_catch_up":false}'
            ),
            time=datetime(2026, 1, 5, 8, tzinfo=UTC),
            subject=domain_events.schedule_subject("rb-7", 0),
        ),
    )
    yield (
        "least",
        CloudEvent(
            id="1",
            source="ci",
            type="finding_created",
            company_id=COMPANY,
            data=Raw(b'{"finding_id":"F-1042"}'),
        ),
    )


def _subject(data: domain_events.EventData) -> str:
    for name, kind in (
        ("finding_id", "findings"),
        ("scan_id", "scans"),
        ("report_id", "reports"),
        ("asset_id", "assets"),
    ):
        value = getattr(data, name, "")
        if value:
            return f"{kind}/{value}"
    return ""


def _event_data() -> Iterator[domain_events.EventData]:
    counts = domain_events.SeverityCounts(critical=1, high=9, medium=7, low=5)
    finding, asset = "F-1042", "A-17"
    yield domain_events.FindingCreated(
        finding_id=finding,
        asset_id=asset,
        severity="critical",
        tool="bandit",
        title="SQL injection in /tickets",
    )
    yield domain_events.FindingUpdated(finding_id=finding, asset_id=asset, changed=("severity", "tags"))
    yield domain_events.FindingStatusChanged(
        finding_id=finding,
        asset_id=asset,
        old_status="open",
        new_status="fixed",
        comment="gone since scan 81",
    )
    yield domain_events.FindingAssigned(
        finding_id=finding, asset_id=asset, assignee_ids=("U-9",), team_ids=("T-4",)
    )
    yield domain_events.FindingRetested(finding_id=finding, asset_id=asset, is_fixed=True)
    yield domain_events.FindingNoteAdded(finding_id=finding, asset_id=asset, note="on it", author="U-9")
    yield domain_events.FindingRuleApplied(
        finding_id=finding, asset_id=asset, rule_id="R-2", rule_name="Known exploited", changed=("severity",)
    )
    yield domain_events.FindingBulkUpdated(finding_ids=(finding, "F-1043"), changed=("tags",))
    yield domain_events.RemoteScanCompleted(
        scan_id="S-81", asset_id=asset, tool="trivy", severity_counts=counts
    )
    yield domain_events.ScanFinished(
        scan_id="S-81", severity_counts=counts, asset_id=asset, tool="bandit", created=20, updated=1, closed=1
    )
    yield domain_events.ReportGenerated(report_id="P-3", name="Weekly", format="pdf")
    yield domain_events.SlaBreached(finding_id=finding, asset_id=asset, severity="critical", deadline=BORN)
    yield domain_events.SlaEscalated(
        finding_id=finding, asset_id=asset, severity="critical", deadline=BORN, level=2
    )
    yield domain_events.AssetCreated(asset_id=asset, name="shop", asset_class="application")
    yield domain_events.AssetUpdated(asset_id=asset, changed=("owning_team",))
