"""Trivy's JSON (schema version 2): vulnerabilities, misconfigurations and secrets of one artifact."""

from typing import Any

import msgspec

from outlast.errors import ContractError
from outlast_platform.core.importers.scan import (
    Fingerprints,
    ReportedFinding,
    Scan,
    checked,
    decode_fault,
    normalised,
    reported,
    without_repeats,
)
from outlast_platform.limits import TARGET_CHARACTERS_MAX

TOOL = "Trivy"
_SEVERITIES = {"UNKNOWN": "info", "LOW": "low", "MEDIUM": "medium", "HIGH": "high", "CRITICAL": "critical"}
_CLASSES = {"container_image": "container", "vm": "host"}


class _Pascal(msgspec.Struct, frozen=True, rename="pascal"):
    """Trivy writes its members as GoLikeThis."""


class _Vulnerability(_Pascal, frozen=True):
    id: str = msgspec.field(name="VulnerabilityID")
    package: str = msgspec.field(name="PkgName")
    package_path: str = msgspec.field(name="PkgPath", default="")
    installed_version: str = ""
    fixed_version: str = ""
    title: str = ""
    description: str = ""
    severity: str = "UNKNOWN"
    url: str = msgspec.field(name="PrimaryURL", default="")
    cwe: tuple[str, ...] = msgspec.field(name="CweIDs", default=())


class _Cause(_Pascal, frozen=True):
    resource: str = ""
    provider: str = ""
    service: str = ""
    start_line: int | None = None


class _Misconfiguration(_Pascal, frozen=True):
    id: str = msgspec.field(name="ID")
    type: str = ""
    title: str = ""
    description: str = ""
    message: str = ""
    resolution: str = ""
    severity: str = "UNKNOWN"
    url: str = msgspec.field(name="PrimaryURL", default="")
    status: str = "FAIL"
    cause: _Cause = msgspec.field(name="CauseMetadata", default=_Cause())


class _Secret(_Pascal, frozen=True):
    rule: str = msgspec.field(name="RuleID")
    category: str = ""
    severity: str = "UNKNOWN"
    title: str = ""
    start_line: int | None = None
    match: str = ""


class _Result(_Pascal, frozen=True):
    target: str
    type: str = ""
    vulnerabilities: tuple[_Vulnerability, ...] | None = None
    misconfigurations: tuple[_Misconfiguration, ...] | None = None
    secrets: tuple[_Secret, ...] | None = None


class _Report(_Pascal, frozen=True):
    schema_version: int
    artifact_name: str = ""
    artifact_type: str = ""
    results: tuple[_Result, ...] | None = None


_decoder: Any = msgspec.json.Decoder(_Report)


def read(document: bytes) -> list[Scan]:
    """The one scan of a report. ContractError with the path of the fault."""
    try:
        report: _Report = _decoder.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise decode_fault(fault) from fault
    if report.schema_version != 2:
        raise ContractError(f"expected schema version 2, found {report.schema_version}", "SchemaVersion")
    fingerprints = Fingerprints(TOOL)
    findings: list[ReportedFinding] = []
    for number, result in enumerate(report.results or ()):
        at = f"Results[{number}]"
        for index, each in enumerate(result.vulnerabilities or ()):
            findings.append(_vulnerability(result, each, f"{at}.Vulnerabilities[{index}]", fingerprints))
        for index, each in enumerate(result.misconfigurations or ()):
            if each.status == "FAIL":
                findings.append(
                    _misconfiguration(result, each, f"{at}.Misconfigurations[{index}]", fingerprints)
                )
        for index, each in enumerate(result.secrets or ()):
            findings.append(_secret(result, each, f"{at}.Secrets[{index}]", fingerprints))
    name = checked(report.artifact_name.rstrip("/"), "ArtifactName", TARGET_CHARACTERS_MAX)
    return [
        Scan(
            tool=TOOL,
            target="" if name == "." else name,
            target_class=_CLASSES.get(report.artifact_type, "repository"),
            findings=without_repeats(findings),
        )
    ]


def _vulnerability(
    result: _Result, each: _Vulnerability, at: str, fingerprints: Fingerprints
) -> ReportedFinding:
    """The installed version is no part of the identity: an upgrade that does not fix leaves the same finding."""
    return reported(
        at=at,
        fingerprint=fingerprints.of("vulnerability", result.target, each.id, each.package, each.package_path),
        rule_id=each.id,
        title=f"{each.id}: {each.title or each.package}",
        description=each.description,
        severity=_severity(each.severity, at),
        tags=["vulnerability", *each.cwe],
        path=each.package_path or result.target,
        line=None,
        attributes={
            "kind": "vulnerability",
            "cve": each.id,
            "package": each.package,
            "installed_version": each.installed_version,
            "fixed_version": each.fixed_version,
            "help_uri": each.url,
            "cwe": list(each.cwe),
        },
    )


def _misconfiguration(
    result: _Result, each: _Misconfiguration, at: str, fingerprints: Fingerprints
) -> ReportedFinding:
    message = normalised(each.message)
    return reported(
        at=at,
        fingerprint=fingerprints.numbered(
            "misconfiguration", result.target, each.id, each.cause.resource, message
        ),
        rule_id=each.id,
        title=f"{each.id}: {each.title or message}",
        description="\n\n".join(text for text in (each.message, each.description, each.resolution) if text),
        severity=_severity(each.severity, at),
        tags=["misconfiguration", *([result.type] if result.type else [])],
        path=result.target,
        line=each.cause.start_line,
        attributes={
            "kind": "misconfiguration",
            "resource": each.cause.resource,
            "provider": each.cause.provider,
            "service": each.cause.service,
            "resolution": each.resolution,
            "help_uri": each.url,
        },
    )


def _secret(result: _Result, each: _Secret, at: str, fingerprints: Fingerprints) -> ReportedFinding:
    """What matched stays out of the finding, masked as it is: it only tells one secret from another."""
    return reported(
        at=at,
        fingerprint=fingerprints.numbered("secret", result.target, each.rule, normalised(each.match)),
        rule_id=each.rule,
        title=f"Secret in {result.target}: {each.title or each.rule}",
        description=f"{each.title or each.rule} ({each.category or 'secret'}) in {result.target}.",
        severity=_severity(each.severity, at),
        tags=["secret"],
        path=result.target,
        line=each.start_line,
        attributes={"kind": "secret", "category": each.category},
    )


def _severity(word: str, at: str) -> str:
    if word not in _SEVERITIES:
        raise ContractError(f"expected one of {', '.join(_SEVERITIES)}, found {word!r}", f"{at}.Severity")
    return _SEVERITIES[word]
