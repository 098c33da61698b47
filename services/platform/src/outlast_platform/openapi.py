"""The OpenAPI document of the doors for our own services; that of the API itself is `make_api(None).openapi()`."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from outlast_platform.api import PROBLEMS, VERSION, make_api
from outlast_platform.core.operations import OperationResult
from outlast_platform.finding_actions import OperationResults, Operations
from outlast_platform.internal import FINDING_ACTIONS, LOOKUP
from outlast_platform.lookups import Lookup
from outlast_platform.models import AssetShown, FindingShown

_REFERENCE = "#/components/schemas/{name}"
_SHOWN = ("AssetShown", "FindingShown", "Location", "OwningTeam", "ProblemShown", "FaultShown")
_SERVICE_TOKEN = {"type": "http", "scheme": "bearer", "description": "The token that our services share."}


def internal_document() -> dict[str, Any]:
    """The look-up and the operations on findings."""
    public: dict[str, Any] = make_api(None).openapi()["components"]["schemas"]
    _, schemas = msgspec.json.schema_components(
        (Lookup, Operations, OperationResults, OperationResult),
        ref_template=_REFERENCE,
        schema_hook=lambda _: {"description": "Any JSON."},
    )
    schemas |= {name: public[name] for name in _SHOWN}
    schemas["LookupResults"] = _lookup_results(schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Outlast platform, for Outlast's services",
            "version": VERSION,
            "description": (
                "Not for people: it needs the token that our services share. Errors are RFC 9457 problem details."
            ),
        },
        "paths": {
            LOOKUP: _door(
                "look_up",
                "What findings and assets are now, in the order of the requests; null for what does not exist.",
                "Lookup",
                "LookupResults",
            ),
            FINDING_ACTIONS: _door(
                "act_on_findings",
                "Runbooks' operations on findings, each applied once for its idempotency key.",
                "Operations",
                "OperationResults",
            ),
        },
        "components": {"schemas": schemas, "securitySchemes": {"ServiceToken": _SERVICE_TOKEN}},
    }


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


def _door(name: str, description: str, request: str, answer: str) -> dict[str, Any]:
    def content(schema: str) -> dict[str, Any]:
        return {"application/json": {"schema": {"$ref": _REFERENCE.format(name=schema)}}}

    problem = {"$ref": _REFERENCE.format(name="ProblemShown")}
    refusals = {
        str(status): {
            "description": PROBLEMS[status],
            "content": {"application/problem+json": {"schema": problem}},
        }
        for status in (401, 413, 422, 503)
    }
    return {
        "post": {
            "operationId": name,
            "summary": name.replace("_", " ").capitalize(),
            "description": description,
            "tags": ["internal"],
            "security": [{"ServiceToken": []}],
            "requestBody": {"required": True, "content": content(request)},
            "responses": {"200": {"description": "Answered", "content": content(answer)}, **refusals},
        }
    }
