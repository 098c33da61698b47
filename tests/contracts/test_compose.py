"""docker-compose.yml, which no engine is here to run: valid by the Compose specification, complete, and each service
gets what its own settings ask for.
"""

import importlib
import json
import re
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from outlast.contracts.topics import SERVICES
from outlast_local.containers import KAFKA_IMAGE, POSTGRES_IMAGE

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
SCHEMA = Path(
    str(
        distribution("check-jsonschema").locate_file(
            "check_jsonschema/builtin_schemas/vendor/compose-spec.json"
        )
    )
)
"""The specification's own, as that package ships it."""
SECRETS = ("POSTGRES_PASSWORD", "OUTLAST_ADMIN_KEY", "OUTLAST_SERVICE_TOKEN")
VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")
INFRASTRUCTURE = {"kafka", "postgres"}
OF_THE_PROCESS = {"OUTLAST_ACTION_EXECUTOR_GRACE_SECONDS"}
"""Goes with `stop_grace_period`, which stands in the file."""


def example() -> dict[str, str]:
    """.env.example as people fill it in."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    values = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return values | dict.fromkeys(SECRETS, "drawn-secret")


def filled_in(text: str, variables: Mapping[str, str]) -> str:
    """`${NAME}`, `${NAME:-default}` and `${NAME:?message}` as compose fills them in."""

    def value(found: re.Match[str]) -> str:
        name, mark, rest = found.groups()
        if variables.get(name):
            return variables[name]
        if mark == "-":
            return rest
        raise LookupError(f"{name} has no value: {rest or 'it has no default'}")

    return VARIABLE.sub(value, text)


DOCUMENT: dict[str, Any] = yaml.safe_load(filled_in(TEXT, example()))
ALL: dict[str, dict[str, Any]] = DOCUMENT["services"]


def variables_of(service: str) -> dict[str, str]:
    """The environment of a service's process: what the image has, and compose's over it."""
    lines = (ROOT / ALL[service]["build"]["dockerfile"]).read_text(encoding="utf-8").splitlines()
    words = [word for line in lines if line.startswith("ENV ") for word in line.split()[1:]]
    return dict(word.split("=", 1) for word in words) | ALL[service]["environment"]


def test_it_is_valid_by_the_compose_specification() -> None:
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert [error.message for error in validator.iter_errors(DOCUMENT)] == []
    broken = DOCUMENT | {"services": {"engine": {"imagee": "x"}}}
    assert list(validator.iter_errors(broken)), "expected the schema to refuse an unknown member"


def test_every_service_and_both_servers_are_in_it_and_nothing_else() -> None:
    assert set(ALL) == {*SERVICES, *INFRASTRUCTURE}
    assert (ALL["kafka"]["image"], ALL["postgres"]["image"]) == (KAFKA_IMAGE, POSTGRES_IMAGE)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_built_from_its_own_dockerfile_and_what_that_copies(service: str) -> None:
    build = ALL[service]["build"]
    context, dockerfile = ROOT / build["context"], ROOT / build["context"] / build["dockerfile"]
    assert dockerfile == ROOT / "services" / service / "Dockerfile"
    copied = [line.split()[1] for line in dockerfile.read_text().splitlines() if line.startswith("COPY ")]
    assert all((context / each).exists() for each in copied), copied
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {each.split("/")[0] for each in copied} <= sent


@pytest.mark.parametrize("service", SERVICES)
def test_a_services_settings_take_what_it_is_given(service: str) -> None:
    settings = importlib.import_module(f"outlast_{service}.settings")
    variables = variables_of(service)
    assert settings.read_settings(variables)
    required = "KAFKA_BOOTSTRAP_SERVERS" if service == "gate" else f"{service.upper()}_DATABASE_URL"
    del variables[required]
    with pytest.raises(SystemExit, match=required):
        settings.read_settings(variables)


@pytest.mark.parametrize("service", sorted(ALL))
def test_each_has_a_health_check_limits_and_waits_for_what_it_needs(service: str) -> None:
    each = ALL[service]
    assert each["healthcheck"]["test"][0] == "CMD"
    assert set(each["deploy"]["resources"]["limits"]) == {"cpus", "memory"}
    assert each["restart"] == "unless-stopped"
    needed = each.get("depends_on", {})
    assert set(needed) == (set() if service in INFRASTRUCTURE else INFRASTRUCTURE)
    assert all(
        ALL[name]["healthcheck"] and on == {"condition": "service_healthy"} for name, on in needed.items()
    )


@pytest.mark.parametrize("service", SERVICES)
def test_health_is_asked_where_the_image_answers_it(service: str) -> None:
    port = variables_of(service)["OUTLAST_HEALTH_PORT"]
    assert f":{port}/readyz" in ALL[service]["healthcheck"]["test"][-1]


def test_addresses_name_a_service_and_a_port_that_it_listens_on() -> None:
    listens = {"kafka": {"9092"}, "postgres": {"5432"}}
    listens |= {name: {variables_of(name).get("OUTLAST_HTTP_PORT", "")} for name in SERVICES}
    for service in SERVICES:
        for name, value in ALL[service]["environment"].items():
            for host, port in re.findall(r"(?:@|//|^)([a-z_]+):(\d+)", str(value)):
                assert port in listens[host], f"{service}: {name}={value}"


def test_published_ports_are_unique_on_the_loopback_and_lead_to_a_listener() -> None:
    published: list[str] = []
    for name, each in ALL.items():
        for port in each.get("ports", ()):
            host, outside, inside = port.split(":")
            assert host == "127.0.0.1", f"{name}: {port} is open to the network"
            published.append(outside)
            if name in SERVICES:
                assert variables_of(name)["OUTLAST_HTTP_PORT"] == inside
            else:
                assert f"HOST://:{inside}," in each["environment"]["KAFKA_LISTENERS"]
                assert f"HOST://127.0.0.1:{outside}" in each["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert len(published) == len(set(published)) == 4


def test_data_lies_in_named_volumes() -> None:
    used = {volume.split(":")[0] for each in ALL.values() for volume in each.get("volumes", ())}
    assert used == set(DOCUMENT["volumes"]) == INFRASTRUCTURE


def test_no_secret_stands_in_the_file_and_none_has_a_default() -> None:
    for name in SECRETS:
        assert f"${{{name}:?" in TEXT
        without = {key: value for key, value in example().items() if key != name}
        with pytest.raises(LookupError, match=name):
            filled_in(TEXT, without)
    example_lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    assert all(f"{name}=" in example_lines for name in SECRETS)
    assert not re.search(r"(?i)(password|token|key):\s*[\"']?\w", TEXT)
    assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").split()


def test_every_variable_that_it_reads_is_in_the_example_or_has_a_default() -> None:
    for name, mark, _ in VARIABLE.findall(TEXT):
        assert mark == "-" or name in example()


@pytest.mark.parametrize("service", SERVICES)
def test_what_a_service_can_be_told_compose_can_tell_it(service: str) -> None:
    readme = (ROOT / "services" / service / "README.md").read_text(encoding="utf-8")
    (settings,) = [line for line in readme.splitlines() if line.startswith("| settings ")]
    named = set(
        re.findall(
            rf"`(\w+_DATABASE_URL|PMAP_\w+|OUTLAST_(?:{'|'.join(map(str.upper, SERVICES))})_\w+)`", settings
        )
    )
    assert named - OF_THE_PROCESS <= variables_of(service).keys()
