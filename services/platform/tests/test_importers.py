"""From reports to findings: severities, identities that outlive moved lines, and faults with their paths."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outlast.errors import ContractError, LimitExceeded
from outlast_platform.core import importers
from outlast_platform.core.importers import read_report
from outlast_platform.core.importers.scan import ReportedFinding, Scan

REPORTS = Path(__file__).parents[3] / "samples" / "reports"


def result(
    rule: str = "R", code: str = "x = 1", line: int = 3, uri: str = "a.py", **more: Any
) -> dict[str, Any]:
    region = {"startLine": line, "snippet": {"text": code}}
    location = {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": region}}
    return {"ruleId": rule, "message": {"text": f"found {rule}"}, "locations": [location], **more}


def run(
    *results: dict[str, Any], rules: list[dict[str, Any]] | None = None, name: str = "tool"
) -> dict[str, Any]:
    return {"tool": {"driver": {"name": name, "rules": rules or []}}, "results": list(results)}


def sarif(*runs: dict[str, Any]) -> list[Scan]:
    return read_report(json.dumps({"version": "2.1.0", "runs": list(runs)}).encode())[1]


def only(scans: list[Scan]) -> ReportedFinding:
    ((finding,),) = (scan.findings for scan in scans)
    return finding


def trivy(**result_members: Any) -> list[Scan]:
    document = {"SchemaVersion": 2, "ArtifactName": "shop", "ArtifactType": "filesystem"}
    return read_report(
        json.dumps(document | {"Results": [{"Target": "Dockerfile", **result_members}]}).encode()
    )[1]


def trivy_secret(severity: str) -> dict[str, Any]:
    secrets = [{"RuleID": "r", "Severity": severity}]
    return {"SchemaVersion": 2, "Results": [{"Target": "t", "Secrets": secrets}]}


@pytest.mark.parametrize(
    ("level", "severity"), [("error", "high"), ("warning", "medium"), ("note", "low"), ("none", "info")]
)
def test_a_level_is_a_severity(level: str, severity: str) -> None:
    assert only(sarif(run(result(level=level)))).severity == severity


def test_without_a_level_the_rules_counts_and_without_that_it_is_a_warning() -> None:
    rule = {"id": "R", "defaultConfiguration": {"level": "error"}}
    assert only(sarif(run(result(), rules=[rule]))).severity == "high"
    assert only(sarif(run(result()))).severity == "medium"


@pytest.mark.parametrize(
    ("score", "severity"),
    [
        ("9.8", "critical"),
        (9.0, "critical"),
        ("8.9", "high"),
        (7, "high"),
        ("4.0", "medium"),
        ("0.1", "low"),
        (0, "info"),
    ],
)
def test_a_security_severity_outweighs_the_level(score: str | float, severity: str) -> None:
    rule = {"id": "R", "properties": {"security-severity": score}}
    assert only(sarif(run(result(level="note"), rules=[rule]))).severity == severity


@pytest.mark.parametrize("score", ["eleven", "11", "-1", "nan"])
def test_a_security_severity_that_is_no_score_is_refused(score: str) -> None:
    rule = {"id": "R", "properties": {"security-severity": score}}
    with pytest.raises(ContractError, match=r"security-severity"):
        sarif(run(result(), rules=[rule]))


def test_a_moved_and_reindented_line_is_the_same_finding() -> None:
    before, after = sarif(run(result(code="x =  1", line=3))), sarif(run(result(code="  x = 1\n", line=90)))
    assert only(before).fingerprint == only(after).fingerprint
    assert (only(before).line, only(after).line) == (3, 90)


@pytest.mark.parametrize("other", [{"code": "y"}, {"uri": "b.py"}, {"rule": "S"}])
def test_other_code_another_file_or_another_rule_is_another_finding(other: dict[str, Any]) -> None:
    assert only(sarif(run(result()))).fingerprint != only(sarif(run(result(**other)))).fingerprint


def test_the_same_code_twice_in_a_file_are_two_findings_with_stable_identities() -> None:
    first, second = sarif(run(result(line=1), result(line=2)))[0].findings
    again = sarif(run(result(line=10), result(line=20)))[0].findings
    assert first.fingerprint != second.fingerprint
    assert [each.fingerprint for each in again] == [first.fingerprint, second.fingerprint]


def test_the_tools_own_fingerprint_identifies_a_finding_whatever_the_code() -> None:
    own: dict[str, Any] = {"fingerprints": {"v1": "abc"}}
    assert (
        only(sarif(run(result(code="a", **own)))).fingerprint
        == only(sarif(run(result(code="b", **own)))).fingerprint
    )
    partial: dict[str, Any] = {"partialFingerprints": {"hash/v1": "abc"}}
    both = run(result(code="a", **partial), result(code="b", **partial))
    assert len(sarif(both)[0].findings) == 1


@pytest.mark.parametrize(
    "silent",
    [
        {"suppressions": [{"kind": "inSource"}]},
        {"kind": "pass"},
        {"kind": "notApplicable"},
        {"baselineState": "absent"},
    ],
)
def test_what_is_suppressed_passed_or_gone_is_no_finding(silent: dict[str, Any]) -> None:
    assert sarif(run(result(**silent)))[0].findings == ()


def test_a_rejected_suppression_suppresses_nothing() -> None:
    rejected = result(suppressions=[{"kind": "external", "status": "rejected"}])
    assert len(sarif(run(rejected))[0].findings) == 1


def test_rules_are_found_by_index_in_extensions_and_by_hierarchical_id() -> None:
    rule = {
        "id": "E1",
        "shortDescription": {"text": "from the extension"},
        "defaultConfiguration": {"level": "error"},
    }
    document = run({"message": {"text": ""}, "rule": {"index": 0, "toolComponent": {"index": 0}}})
    document["tool"]["extensions"] = [{"name": "extension", "rules": [rule]}]
    assert (only(sarif(document)).title, only(sarif(document)).severity) == ("from the extension", "high")
    parent = {"id": "R", "defaultConfiguration": {"level": "error"}}
    assert only(sarif(run(result(rule="R/sub"), rules=[parent]))).severity == "high"


def test_a_message_by_id_is_filled_with_its_arguments() -> None:
    rule = {"id": "R", "messageStrings": {"m": {"text": "{0} reaches {1}"}}}
    document = result(message={"id": "m", "arguments": ["input", "eval"]})
    assert only(sarif(run(document, rules=[rule]))).title == "input reaches eval"


def test_runs_of_one_tool_are_one_scan_and_other_tools_are_others() -> None:
    scans = sarif(run(result()), run(result(rule="S")), run(result(), name="another"))
    assert [(scan.tool, len(scan.findings)) for scan in scans] == [("tool", 2), ("another", 1)]


def test_an_address_of_a_file_becomes_a_plain_path() -> None:
    assert only(sarif(run(result(uri="file:///src/a%20b.py")))).path == "/src/a b.py"
    assert only(sarif(run(result(uri="./src/a.py")))).path == "src/a.py"


def test_long_texts_are_cut_and_many_tags_are_bounded() -> None:
    finding = only(
        sarif(run(result(message={"text": "y" * 50_000}, properties={"tags": [f"t{n}" for n in range(200)]})))
    )
    assert (len(finding.title), len(finding.description), len(finding.tags)) == (300, 8_000, 50)


def test_trivy_finds_vulnerabilities_misconfigurations_and_secrets() -> None:
    package = {"PkgName": "p", "InstalledVersion": "1", "FixedVersion": "2"}
    failed = {"ID": "DS001", "Title": "latest", "Severity": "MEDIUM", "CauseMetadata": {"StartLine": 1}}
    passed = {"ID": "DS002", "Title": "root", "Severity": "HIGH", "Status": "PASS"}
    secret = {"RuleID": "aws", "Category": "AWS", "Severity": "CRITICAL", "StartLine": 4, "Match": "****"}
    scans = trivy(
        Vulnerabilities=[{"VulnerabilityID": "CVE-1", "Severity": "CRITICAL", **package}],
        Misconfigurations=[failed, passed],
        Secrets=[secret],
    )
    (scan,) = scans
    assert (scan.tool, scan.target, scan.target_class) == ("Trivy", "shop", "repository")
    assert [(each.rule_id, each.severity, each.line) for each in scan.findings] == [
        ("CVE-1", "critical", None),
        ("DS001", "medium", 1),
        ("aws", "critical", 4),
    ]
    assert json.loads(scan.findings[0].attributes)["fixed_version"] == "2"
    assert "****" not in json.dumps([scan.findings[2].description, scan.findings[2].attributes])


def test_an_upgrade_that_does_not_fix_leaves_the_same_vulnerability() -> None:
    one, two = (
        trivy(Vulnerabilities=[{"VulnerabilityID": "CVE-1", "PkgName": "p", "InstalledVersion": version}])
        for version in ("1.0", "1.1")
    )
    assert only(one).fingerprint == only(two).fingerprint


def test_two_secrets_of_one_kind_in_a_file_are_two_findings() -> None:
    secret = {"RuleID": "aws", "Severity": "HIGH", "Match": "****"}
    assert len(trivy(Secrets=[secret, secret])[0].findings) == 2


def test_a_report_without_findings_is_a_scan_that_found_nothing() -> None:
    assert trivy()[0].findings == ()
    assert read_report(b'{"SchemaVersion": 2, "ArtifactName": "."}')[1][0].target == ""
    assert sarif({"tool": {"driver": {"name": "t"}}, "results": None})[0].findings == ()


@pytest.mark.parametrize(
    ("report", "path"),
    [
        ({"version": "2.0.0", "runs": [run()]}, "version"),
        ({"version": "2.1.0", "runs": []}, "runs"),
        ({"version": "2.1.0", "runs": [{"tool": {"driver": {"name": " "}}}]}, "runs[0].tool.driver.name"),
        ({"version": "2.1.0", "runs": [run(result(message={"text": 1}))]}, "runs[0].results[0].message.text"),
        (
            {"version": "2.1.0", "runs": [run(result(ruleIndex=4), rules=[{"id": "R"}])]},
            "runs[0].results[0].ruleIndex",
        ),
        ({"version": "2.1.0", "runs": [run(result(uri="a\x00"))]}, "runs[0].results[0].location"),
        (
            {
                "SchemaVersion": 2,
                "Results": [{"Target": "t", "Secrets": [{"RuleID": "r", "Severity": "BAD"}]}],
            },
            "Results[0].Secrets[0].Severity",
        ),
        ({"SchemaVersion": 2, "Results": {}}, "Results"),
    ],
)
def test_a_fault_is_named_by_its_path(report: dict[str, Any], path: str) -> None:
    with pytest.raises(ContractError) as fault:
        read_report(json.dumps(report).encode())
    assert fault.value.path == path


def test_too_many_findings_and_too_large_a_report_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importers, "FINDINGS_PER_REPORT_MAX", 1)
    with pytest.raises(LimitExceeded):
        sarif(run(result(), result(rule="S")))
    monkeypatch.setattr(importers, "REPORT_BYTES_MAX", 10)
    with pytest.raises(LimitExceeded):
        read_report(b"{" + b" " * 10 + b"}")


def test_a_byte_order_mark_is_no_fault() -> None:
    document = json.dumps({"version": "2.1.0", "runs": [run(result())]}).encode()
    assert read_report(b"\xef\xbb\xbf" + document) == read_report(document)


@pytest.mark.parametrize(
    ("name", "count"), [("bandit.sarif", 21), ("flawfinder.sarif", 15), ("trivy.json", 54)]
)
def test_reports_that_real_scanners_wrote_are_read_whole(name: str, count: int) -> None:
    (scan,) = read_report((REPORTS / name).read_bytes())[1]
    assert len(scan.findings) == count
    assert len({finding.fingerprint for finding in scan.findings}) == count


MEMBERS = st.sampled_from(
    ["runs", "version", "tool", "driver", "name", "results", "message", "Results", "Target", "SchemaVersion"]
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(MEMBERS, inner),
)


@settings(max_examples=40)
@given(ANY_JSON)
def test_any_json_is_read_or_refused_and_nothing_else(document: object) -> None:
    with contextlib.suppress(ContractError):
        read_report(json.dumps(document).encode())
