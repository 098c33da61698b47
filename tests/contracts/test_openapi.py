"""The committed OpenAPI documents are what the code says, and say of every operation what callers need."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.contracts.export_openapi import FOLDER, documents, stale

OPERATIONS = [
    (name, path, method, operation)
    for name, text in sorted(documents().items())
    for path, methods in json.loads(text)["paths"].items()
    for method, operation in methods.items()
]


def test_the_committed_documents_are_fresh() -> None:
    assert sorted(stale()) == []


def test_a_changed_document_is_found(tmp_path: Path) -> None:
    for name, text in documents().items():
        (tmp_path / name).write_text(text.replace("Outlast", "Other", 1))
    assert set(stale(tmp_path)) == {path.name for path in FOLDER.iterdir()}


@pytest.mark.parametrize(
    ("name", "path", "method", "operation"), OPERATIONS, ids=[f"{o[0]}-{o[2]}-{o[1]}" for o in OPERATIONS]
)
def test_every_operation_says_what_it_does_who_may_and_how_it_fails(
    name: str, path: str, method: str, operation: dict[str, Any]
) -> None:
    assert operation["description"]
    assert operation["security"], "expected an API key to be asked for"
    problems = {status for status in operation["responses"] if status.startswith("4")}
    # who has the services' token may everything, and nothing is named by the address
    assert ({"401", "422"} if name == "platform-internal.json" else {"401", "403", "404", "422"}) <= problems
    for status in problems:
        assert "application/problem+json" in operation["responses"][status]["content"], status


@pytest.mark.parametrize(
    ("path", "operation"),
    [(o[1], o[3]) for o in OPERATIONS if o[0] == "control-plane.json" and o[2] == "post"],
)
def test_every_post_of_the_control_plane_honours_an_idempotency_key(
    path: str, operation: dict[str, Any]
) -> None:
    assert "Idempotency-Key" in {parameter["name"] for parameter in operation["parameters"]}
