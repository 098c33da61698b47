"""The OpenAPI document of this service, the doors for our own services included.

python -m outlast_platform.openapi > contracts/openapi/platform.json
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

import msgspec

from outlast_platform.api import PROBLEMS, make_api
from outlast_platform.core.operations import OperationResult
from outlast_platform.finding_actions import OperationResults, Operations
from outlast_platform.internal import FINDING_ACTIONS, LOOKUP
from outlast_platform.lookups import Lookup
from outlast_platform.models import AssetShown, FindingShown

_REFERENCE = "#/components/schemas/{name}"
_SERVICE_TOKEN = {"type": "http", "scheme": "bearer", "description": "The token that our services share."}


def document() -> dict[str, Any]:
    """The whole API, in a stable order."""
    described = make_api(None).openapi()
    schemas: dict[str, Any] = described["components"]["schemas"]
    types = (Lookup, Operations, OperationResults, OperationResult)
    _, components = msgspec.json.schema_components(
        types, ref_template=_REFERENCE, schema_hook=lambda _: {"description": "Any JSON."}
    )
    schemas |= components
    schemas["LookupResults"] = _lookup_results(schemas)
    described["components"]["securitySchemes"]["ServiceToken"] = _SERVICE_TOKEN
    described["paths"][LOOKUP] = _door(
        "look_up",
        "What findings and assets are now, in the order of the requests.",
        "Lookup",
        "LookupResults",
    )
    described["paths"][FINDING_ACTIONS] = _door(
        "act_on_findings",
        "Runbooks' operations on findings, each applied once for its idempotency key.",
        "Operations",
        "OperationResults",
    )
    return described


def _lookup_results(schemas: Mapping[str, Any]) -> dict[str, Any]:
    """The look-up shows findings and assets as the API does, but for a finding's version."""
    finding = json.loads(json.dumps(schemas[FindingShown.__name__]))
    finding["properties"].pop("version")
    finding["required"].remove("version")
    asset = {"$ref": _REFERENCE.format(name=AssetShown.__name__)}
    null = {"type": "null"}
    result = {
        "type": "object",
        "required": ["finding", "asset"],
        "properties": {"finding": {"anyOf": [finding, null]}, "asset": {"anyOf": [asset, null]}},
    }
    return {
        "type": "object",
        "required": ["results"],
        "properties": {"results": {"type": "array", "items": result}},
    }


def _door(name: str, summary: str, request: str, answer: str) -> dict[str, Any]:
    def content(schema: str) -> dict[str, Any]:
        return {"application/json": {"schema": {"$ref": _REFERENCE.format(name=schema)}}}

    problem = {"$ref": _REFERENCE.format(name="ProblemShown")}
    refusals = {
        str(status): {
            "description": PROBLEMS[status]["description"],
            "content": {"application/problem+json": {"schema": problem}},
        }
        for status in (401, 413, 422, 503)
    }
    return {
        "post": {
            "operationId": name,
            "summary": summary,
            "tags": ["internal"],
            "security": [{"ServiceToken": []}],
            "requestBody": {"required": True, "content": content(request)},
            "responses": {"200": {"description": "Answered", "content": content(answer)}, **refusals},
        }
    }


def text() -> str:
    """The document as it is committed."""
    return json.dumps(document(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
