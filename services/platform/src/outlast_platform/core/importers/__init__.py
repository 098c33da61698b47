"""From a scanner's report to findings: bytes in, `Scan`s out, or ContractError with the path of the fault."""

import msgspec

from outlast.errors import ContractError, LimitExceeded
from outlast_platform.core.importers import sarif, trivy
from outlast_platform.core.importers.scan import Scan
from outlast_platform.limits import FINDINGS_PER_REPORT_MAX, REPORT_BYTES_MAX

FORMATS = ("sarif", "trivy")


class _Members(msgspec.Struct, frozen=True):
    """The members by which the formats are told apart."""

    runs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    results: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="Results", default=msgspec.UNSET)
    artifact: msgspec.Raw | msgspec.UnsetType = msgspec.field(name="ArtifactName", default=msgspec.UNSET)


_members = msgspec.json.Decoder(_Members)


def read_report(report: bytes, report_format: str = "") -> tuple[str, list[Scan]]:
    """The format and the scans in it. Without `report_format` it is recognised by its members.

    ContractError: not that format, with the path of the fault. LimitExceeded: too large, or too many findings.
    """
    if len(report) > REPORT_BYTES_MAX:
        raise LimitExceeded("report_bytes_max", REPORT_BYTES_MAX, len(report))
    document = report.removeprefix(b"\xef\xbb\xbf")
    name = report_format or _recognise(document)
    scans = sarif.read(document) if name == "sarif" else trivy.read(document)
    count = sum(len(scan.findings) for scan in scans)
    if count > FINDINGS_PER_REPORT_MAX:
        raise LimitExceeded("findings_per_report_max", FINDINGS_PER_REPORT_MAX, count)
    return name, scans


def _recognise(document: bytes) -> str:
    try:
        members = _members.decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise ContractError(f"expected a JSON report: {str(fault).partition(' - at `')[0]}") from fault
    if members.runs is not msgspec.UNSET:
        return "sarif"
    if members.results is not msgspec.UNSET or members.artifact is not msgspec.UNSET:
        return "trivy"
    raise ContractError("expected SARIF (a member `runs`) or Trivy JSON (a member `Results`), found neither")
