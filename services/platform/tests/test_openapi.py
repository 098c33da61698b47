"""The committed OpenAPI document is this code's."""

from pathlib import Path

from outlast_platform.openapi import document, text

COMMITTED = Path(__file__).parents[3] / "contracts" / "openapi" / "platform.json"


def test_the_committed_document_is_fresh() -> None:
    assert COMMITTED.read_text() == text(), (
        "python -m outlast_platform.openapi > contracts/openapi/platform.json"
    )


def test_every_reference_leads_to_a_schema() -> None:
    schemas = document()["components"]["schemas"]
    referred = {part.split('"')[0] for part in text().split("#/components/schemas/")[1:]}
    assert referred <= set(schemas)


def test_every_endpoint_says_how_it_refuses() -> None:
    for path, item in document()["paths"].items():
        for method, operation in item.items():
            for status in ("401", "422", "503"):
                content = operation["responses"][status]["content"]
                assert "application/problem+json" in content, f"{method} {path} {status}"
