"""The document of the internal doors holds together."""

import json

from outlast_platform.openapi import internal_document


def test_every_reference_leads_to_a_schema() -> None:
    document = internal_document()
    referred = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert referred <= set(document["components"]["schemas"])


def test_a_looked_up_finding_is_described_as_it_is_sent() -> None:
    result = internal_document()["components"]["schemas"]["LookupResults"]["properties"]["results"]["items"]
    finding, null = result["properties"]["finding"]["anyOf"]
    assert {"id", "asset_id", "severity", "tags", "location"} <= set(finding["required"])
    assert "version" not in finding["properties"]
    assert null == {"type": "null"}
