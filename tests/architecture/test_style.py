"""Rules of CONTRIBUTING.md that a machine can check, on every product module."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path
    for folder in ("shared/src", "services", "infra")
    for path in (ROOT / folder).rglob("*.py")
    if "/tests/" not in str(path) and "/outlast/testing/" not in str(path)
)
PURE = ("/execution/", "/runbooks/", "/history/", "/contracts/", "/guardrails/", "/core/")
LINES_MAX = 450
FUNCTION_LINES_MAX = 75
CLOCKS = {
    "datetime.now",
    "datetime.utcnow",
    "time.time",
    "time.monotonic",
    "uuid.uuid4",
    "uuid4",
    "random.random",
}
VAGUE_NAMES = {"utils", "common", "helpers", "manager", "base", "misc"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def called(node: ast.Call) -> str:
    return ast.unparse(node.func)


def test_there_is_something_to_check() -> None:
    assert len(MODULES) > 100


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_is_for_and_fits_in_the_head(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if path.read_text().strip():
        assert ast.get_docstring(tree), "expected a module docstring"
    assert len(path.read_text().splitlines()) <= LINES_MAX
    assert path.stem not in VAGUE_NAMES
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", [p for p in MODULES if any(part in str(p) for part in PURE)], ids=name_of)
def test_a_pure_module_asks_no_clock_and_draws_nothing(path: Path) -> None:
    calls = [called(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not CLOCKS & set(calls)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_public_functions_and_classes_have_docstrings(path: Path) -> None:
    bare = [
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and ast.get_docstring(node) is None
    ]
    assert bare == []


def test_only_composition_roots_construct_the_loops_clients() -> None:
    clients = {"KafkaSource", "KafkaSink", "CompactedReader"}
    wrong = [
        f"{name_of(path)}:{node.lineno} {called(node)}"
        for path in MODULES
        if "services/" in str(path)
        and path.name not in ("app.py", "readers.py", "services.py", "identities.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and called(node) in clients
    ]
    assert wrong == []


def test_every_service_has_the_same_files() -> None:
    expected = ("README.md", "Dockerfile", "pyproject.toml", "requirements.txt")
    missing = [
        f"{service.name}/{file}"
        for service in sorted((ROOT / "services").iterdir())
        if (service / "pyproject.toml").exists()
        for file in expected
        if not (service / file).exists()
    ]
    assert missing == []


def test_each_services_partition_table_is_the_one_of_the_fence() -> None:
    from outlast.db.fence import PARTITIONS_DDL

    body = " ".join(PARTITIONS_DDL.split("(", 1)[1].split())
    for service in (
        "engine",
        "finalizer",
        "trigger_matcher",
        "action_executor",
        "timer_scheduler",
        "signal_delivery",
    ):
        (migration,) = (ROOT / "services" / service).glob("src/*/migrations/0001_pre_*.sql")
        assert body in " ".join(migration.read_text().split()), service
