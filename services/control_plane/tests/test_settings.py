"""Settings that are wrong end the process with their name."""

from datetime import timedelta

import pytest

from outlast.runtime.settings import SettingsError
from outlast_control_plane.settings import read_settings

GOOD = {"CONTROL_PLANE_DATABASE_URL": "postgres://x", "KAFKA_BOOTSTRAP_SERVERS": "k:1"}


def test_the_views_are_in_the_own_database_unless_said_otherwise() -> None:
    settings = read_settings(GOOD)
    assert settings.records_url == settings.engine_url == settings.database_url == "postgres://x"
    assert read_settings(GOOD | {"CONTROL_PLANE_RECORDS_URL": "r"}).records_url == "r"


def test_the_mode_and_the_grace_time_are_the_matchers() -> None:
    assert read_settings(GOOD).engine_mode == "inline"
    shown = read_settings(
        GOOD | {"PMAP_RUNBOOK_ENGINE": "shadow", "OUTLAST_TRIGGER_MATCHER_DEGRADE_SECONDS": "5"}
    )
    assert (shown.engine_mode, shown.degrade_after) == ("shadow", timedelta(seconds=5))


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"KAFKA_BOOTSTRAP_SERVERS": "k:1"}, "CONTROL_PLANE_DATABASE_URL"),
        (GOOD | {"OUTLAST_HTTP_PORT": "http"}, "OUTLAST_HTTP_PORT"),
        (GOOD | {"PMAP_RUNBOOK_ENGINE": "durable"}, "PMAP_RUNBOOK_ENGINE"),
        (GOOD | {"OUTLAST_CONTROL_PLANE_COLOUR": "red"}, "OUTLAST_CONTROL_PLANE_COLOUR"),
    ],
)
def test_what_is_missing_wrong_or_unknown_is_refused_by_name(variables: dict[str, str], name: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read_settings(variables)
