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


def test_a_relay_is_read_with_those_who_may_send() -> None:
    settings = read_settings(
        {
            **GOOD,
            "OUTLAST_ACTION_EXECUTOR_SMTP_URL": "smtps://outlast:s%40fe@relay.example",
            "OUTLAST_ACTION_EXECUTOR_SMTP_FROM": "Outlast <outlast@example.org>",
            "OUTLAST_ACTION_EXECUTOR_SMTP_FROM_ALLOW": "acme=*@acme.example",
        }
    )
    assert settings.relay is not None
    assert settings.senders is not None
    assert (str(settings.relay.target), settings.relay.encryption) == ("smtp://relay.example:465", "implicit")
    assert settings.relay.password == "s@fe"
    assert settings.senders.of("acme", "soc@acme.example").addr_spec == "soc@acme.example"
    assert "s@fe" not in str(settings)


def test_without_a_relay_no_mail_is_sent() -> None:
    assert read_settings({**GOOD, "OUTLAST_ACTION_EXECUTOR_SMTP_URL": ""}).relay is None


MAIL = {
    "OUTLAST_ACTION_EXECUTOR_SMTP_URL": "smtp://u:secret@relay.example",
    "OUTLAST_ACTION_EXECUTOR_SMTP_FROM": "a@example.org",
}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"PLATFORM_URL": None}, "PLATFORM_URL"),
        ({"PLATFORM_URL": "http://u:secret@platform"}, "PLATFORM_URL"),
        ({"OUTLAST_EGRESS_ALLOW": "everything"}, "OUTLAST_EGRESS_ALLOW"),
        ({"OUTLAST_ACTION_EXECUTOR_GRACE_SECONDS": "-1"}, "OUTLAST_ACTION_EXECUTOR_GRACE_SECONDS"),
        ({**MAIL, "OUTLAST_ACTION_EXECUTOR_SMTP_URL": "smtp://u:secret@relay example"}, "SMTP_URL"),
        ({**MAIL, "OUTLAST_ACTION_EXECUTOR_SMTP_URL": "smtp://u:secret@h?starttls=maybe"}, "SMTP_URL"),
        ({**MAIL, "OUTLAST_ACTION_EXECUTOR_SMTP_FROM": ""}, "SMTP_FROM"),
        ({**MAIL, "OUTLAST_ACTION_EXECUTOR_SMTP_FROM_ALLOW": "*@acme.example"}, "SMTP_FROM"),
        ({"OUTLAST_ACTION_EXECUTOR_GRACE": "5"}, "OUTLAST_ACTION_EXECUTOR_GRACE"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(changes: dict[str, str | None], name: str) -> None:
    variables = {key: value for key, value in {**GOOD, **changes}.items() if value is not None}
    with pytest.raises(SystemExit) as refused:
        read_settings(variables)
    assert name in str(refused.value)
    assert "secret" not in str(refused.value)
