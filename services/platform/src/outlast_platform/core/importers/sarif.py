"""SARIF 2.1.0 (OASIS): what static analysers write. Sections in brackets are the standard's.

A finding's severity is the `security-severity` of result or rule (0–10, as CodeQL and others give it), else the
level (3.27.10: result, then rule, then `warning`). Identity: the tool's own fingerprints (3.27.16, 3.27.17), else
rule, file and the code itself with its white space folded, so that a moved line stays the same finding.
Suppressed results, and those of kind pass, notApplicable and informational, are no findings.
"""

from typing import Any
from urllib.parse import unquote

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
from outlast_platform.limits import NAME_CHARACTERS_MAX, TARGET_CHARACTERS_MAX

_LEVELS = {"error": "high", "warning": "medium", "note": "low", "none": "info"}
_FINDING_KINDS = ("fail", "open", "review")


class _Text(msgspec.Struct, frozen=True):
    text: str = ""


class _Message(msgspec.Struct, frozen=True):
    text: str = ""
    id: str = ""
    arguments: tuple[str, ...] = ()


class _Configuration(msgspec.Struct, frozen=True):
    level: str = ""


class _Properties(msgspec.Struct, frozen=True):
    security_severity: str | float | None = msgspec.field(name="security-severity", default=None)
    tags: tuple[str, ...] = ()


class _Rule(msgspec.Struct, frozen=True):
    id: str
    name: str = ""
    short_description: _Text = msgspec.field(name="shortDescription", default=_Text())
    full_description: _Text = msgspec.field(name="fullDescription", default=_Text())
    help_uri: str = msgspec.field(name="helpUri", default="")
    configuration: _Configuration = msgspec.field(name="defaultConfiguration", default=_Configuration())
    messages: dict[str, _Text] = msgspec.field(name="messageStrings", default_factory=dict)
    properties: _Properties = _Properties()


class _Component(msgspec.Struct, frozen=True):
    name: str
    rules: tuple[_Rule, ...] | None = None


class _Tool(msgspec.Struct, frozen=True):
    driver: _Component
    extensions: tuple[_Component, ...] = ()


class _Artifact(msgspec.Struct, frozen=True):
    uri: str = ""
    index: int = -1


class _Region(msgspec.Struct, frozen=True):
    start_line: int | None = msgspec.field(name="startLine", default=None)
    snippet: _Text = _Text()


class _Physical(msgspec.Struct, frozen=True):
    artifact: _Artifact = msgspec.field(name="artifactLocation", default=_Artifact())
    region: _Region = _Region()


class _Location(msgspec.Struct, frozen=True):
    physical: _Physical = msgspec.field(name="physicalLocation", default=_Physical())


class _ComponentReference(msgspec.Struct, frozen=True):
    index: int = -1


class _RuleReference(msgspec.Struct, frozen=True):
    id: str = ""
    index: int = -1
    component: _ComponentReference | None = msgspec.field(name="toolComponent", default=None)


class _Suppression(msgspec.Struct, frozen=True):
    status: str = "accepted"


class _Result(msgspec.Struct, frozen=True):
    message: _Message
    rule_id: str = msgspec.field(name="ruleId", default="")
    rule_index: int = msgspec.field(name="ruleIndex", default=-1)
    rule: _RuleReference = _RuleReference()
    level: str = ""
    kind: str = "fail"
    baseline: str = msgspec.field(name="baselineState", default="")
    locations: tuple[_Location, ...] = ()
    fingerprints: dict[str, str] = {}
    partial_fingerprints: dict[str, str] = msgspec.field(name="partialFingerprints", default_factory=dict)
    suppressions: tuple[_Suppression, ...] | None = None
    properties: _Properties = _Properties()


class _Described(msgspec.Struct, frozen=True):
    id: str = ""


class _Provenance(msgspec.Struct, frozen=True):
    repository: str = msgspec.field(name="repositoryUri", default="")


class _ArtifactEntry(msgspec.Struct, frozen=True):
    location: _Artifact = _Artifact()


class _Run(msgspec.Struct, frozen=True):
    tool: _Tool
    results: tuple[_Result, ...] | None = None
    artifacts: tuple[_ArtifactEntry, ...] = ()
    automation: _Described = msgspec.field(name="automationDetails", default=_Described())
    provenance: tuple[_Provenance, ...] = msgspec.field(name="versionControlProvenance", default=())


class _Log(msgspec.Struct, frozen=True):
    version: str
    runs: tuple[_Run, ...]


_decoder: Any = msgspec.json.Decoder(_Log)


def read(document: bytes) -> list[Scan]:
    """The scans of a log, runs of one tool over one target as one. ContractError with the path of the fault."""
    try:
        log: _Log = _decoder.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise decode_fault(fault) from fault
    if not log.version.startswith("2.1"):
        raise ContractError(f"expected SARIF 2.1, found {log.version!r}", "version")
    if not log.runs:
        raise ContractError("expected at least one run", "runs")
    scans: dict[tuple[str, str], Scan] = {}
    for number, run in enumerate(log.runs):
        scan = _scan(run, f"runs[{number}]")
        earlier = scans.get((scan.tool, scan.target))
        findings = scan.findings if earlier is None else without_repeats((*earlier.findings, *scan.findings))
        scans[scan.tool, scan.target] = Scan(scan.tool, scan.target, scan.target_class, findings)
    return list(scans.values())


def _scan(run: _Run, at: str) -> Scan:
    tool = checked(run.tool.driver.name, f"{at}.tool.driver.name", NAME_CHARACTERS_MAX)
    if not tool:
        raise ContractError("expected the tool's name", f"{at}.tool.driver.name")
    named = next((each.repository for each in run.provenance if each.repository), run.automation.id)
    target = checked(named.rstrip("/"), f"{at}.automationDetails.id", TARGET_CHARACTERS_MAX)
    fingerprints = Fingerprints(tool)
    findings = (
        _finding(run, result, f"{at}.results[{number}]", fingerprints)
        for number, result in enumerate(run.results or ())
        if _is_finding(result)
    )
    return Scan(tool, target, "repository", without_repeats(findings))


def _is_finding(result: _Result) -> bool:
    is_suppressed = any(each.status == "accepted" for each in result.suppressions or ())
    return result.kind in _FINDING_KINDS and result.baseline != "absent" and not is_suppressed


def _finding(run: _Run, result: _Result, at: str, fingerprints: Fingerprints) -> ReportedFinding:
    rule = _rule(run, result, at)
    message = _message(result.message, rule)
    physical = result.locations[0].physical if result.locations else _Physical()
    path = _path(physical.artifact, run)
    code = normalised(physical.region.snippet.text)
    line = physical.region.start_line
    if result.fingerprints:
        fingerprint = fingerprints.of("own", rule.id, path, *_pairs(result.fingerprints))
    elif result.partial_fingerprints:
        fingerprint = fingerprints.of("partial", rule.id, path, *_pairs(result.partial_fingerprints))
    elif code:
        fingerprint = fingerprints.numbered("code", rule.id, path, code)
    else:
        fingerprint = fingerprints.numbered("message", rule.id, path, message)
    tags = [*rule.properties.tags, *result.properties.tags]
    return reported(
        at=at,
        fingerprint=fingerprint,
        rule_id=rule.id,
        title=message or rule.short_description.text or rule.name or rule.id,
        description="\n\n".join(
            dict.fromkeys(text for text in (message, rule.full_description.text) if text)
        ),
        severity=_severity(result, rule, at),
        tags=tags,
        path=path,
        line=line,
        attributes={
            "rule_name": rule.name,
            "help_uri": rule.help_uri,
            "cwe": sorted({f"CWE-{tag.rpartition('-')[2]}" for tag in tags if "cwe-" in tag.lower()}),
        },
    )


def _rule(run: _Run, result: _Result, at: str) -> _Rule:
    """3.27.5 to 3.27.7, 3.52: by index into the driver's or an extension's rules, else by id."""
    index = result.rule_index if result.rule_index >= 0 else result.rule.index
    component = run.tool.driver
    if result.rule.component is not None and result.rule.component.index >= 0:
        if result.rule.component.index >= len(run.tool.extensions):
            raise ContractError("expected the index of an extension", f"{at}.rule.toolComponent.index")
        component = run.tool.extensions[result.rule.component.index]
    rules = component.rules or ()
    if index >= 0 and rules:
        if index >= len(rules):
            raise ContractError(f"expected the index of one of {len(rules)} rules", f"{at}.ruleIndex")
        return rules[index]
    rule_id = result.rule_id or result.rule.id
    found = next((rule for rule in rules if rule.id == rule_id), None)
    if found is None and "/" in rule_id:  # 3.52.4: an id may go on with more specific parts
        found = next((rule for rule in rules if rule_id.startswith(f"{rule.id}/")), None)
    return found or _Rule(rule_id or "unnamed")


def _message(message: _Message, rule: _Rule) -> str:
    text = message.text or rule.messages.get(message.id, _Text()).text
    for number, argument in enumerate(message.arguments):
        text = text.replace(f"{{{number}}}", argument)
    return text.strip()


def _severity(result: _Result, rule: _Rule, at: str) -> str:
    for properties in (result.properties, rule.properties):
        if properties.security_severity is not None:
            return _of_score(properties.security_severity, f"{at}.properties.security-severity")
    level = result.level or rule.configuration.level or "warning"
    if level not in _LEVELS:
        raise ContractError(f"expected one of {', '.join(_LEVELS)}, found {level!r}", f"{at}.level")
    return _LEVELS[level]


def _of_score(score: str | float, path: str) -> str:
    try:
        number = float(score)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 10:
        raise ContractError(f"expected a number from 0 to 10, found {score!r}", path)
    if number == 0:
        return "info"
    return "critical" if number >= 9 else "high" if number >= 7 else "medium" if number >= 4 else "low"


def _path(artifact: _Artifact, run: _Run) -> str:
    uri = artifact.uri
    if not uri and 0 <= artifact.index < len(run.artifacts):
        uri = run.artifacts[artifact.index].location.uri
    return unquote(uri.removeprefix("file://")).removeprefix("./")


def _pairs(values: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in sorted(values.items())]
