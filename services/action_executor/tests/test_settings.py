"""A wrong setting ends the start with its name, and never with a secret."""

import pytest

from outlast_action_executor.settings import read_settings

GOOD = {
    "KAFKA_BOOTSTRAP_SERVERS": "k:9092",
    "ACTION_EXECUTOR_DATABASE_URL": "postgresql://u:secret@h/d",
    "PLATFORM_URL": "http://platform:8080",
    "OUTLAST_SERVICE_TOKEN": "token",
}


def test_settings_are_read() -> None:
    settings = read_settings(
        {**GOOD, "OUTLAST_EGRESS_ALLOW": "127.0.0.0/8, jira.internal:443", "OUTLAST_INSTANCE": "3"}
    )
    assert settings.loop.process.instance == "3"
    assert settings.egress_allow == ("127.0.0.0/8", "jira.internal:443")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"PLATFORM_URL": None}, "PLATFORM_URL"),
        ({"PLATFORM_URL": "http://u:secret@platform"}, "PLATFORM_URL"),
        ({"OUTLAST_EGRESS_ALLOW": "everything"}, "OUTLAST_EGRESS_ALLOW"),
        ({"OUTLAST_ACTION_EXECUTOR_GRACE_SECONDS": "-1"}, "OUTLAST_ACTION_EXECUTOR_GRACE_SECONDS"),
        ({"OUTLAST_ACTION_EXECUTOR_GRACE": "5"}, "OUTLAST_ACTION_EXECUTOR_GRACE"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(changes: dict[str, str | None], name: str) -> None:
    variables = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    with pytest.raises(SystemExit) as refused:
        read_settings(variables)
    assert name in str(refused.value)
    assert "secret" not in str(refused.value)
