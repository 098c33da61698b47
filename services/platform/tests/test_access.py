"""Settings, keys and roles."""

import hashlib

import pytest

from outlast.contracts.codec import encode
from outlast.contracts.messages import Head, Identity, Message
from outlast.http.problems import Problem
from outlast.messaging.ports import Received
from outlast.runtime.settings import SettingsError
from outlast_platform.access import SERVICE, Caller, Keyring, Role
from outlast_platform.app import new_id
from outlast_platform.identities import IdentityDirectory
from outlast_platform.settings import read_settings

REQUIRED = {"KAFKA_BOOTSTRAP_SERVERS": "k:1", "PLATFORM_DATABASE_URL": "postgresql://x"}


def record(message: Message | None) -> Received:
    return Received("identities", 0, 0, 0, b"k", None if message is None else encode(message))


def identity(key: str, revision: int, is_revoked: bool = False) -> Identity:
    return Identity(
        id="i",
        key_sha256=hashlib.sha256(key.encode()).hexdigest(),
        name="Eve",
        company_id="acme",
        role="soc_analyst",
        is_revoked=is_revoked,
        revision=revision,
    )


def status_of(keyring: Keyring, key: str) -> int:
    with pytest.raises(Problem) as problem:
        keyring.caller(key)
    return problem.value.status


def test_a_missing_a_wrong_and_an_unknown_setting_are_refused_by_name() -> None:
    assert read_settings(REQUIRED).http_port == 8081
    for variables, name in (
        ({"KAFKA_BOOTSTRAP_SERVERS": "k"}, "PLATFORM_DATABASE_URL"),
        (REQUIRED | {"OUTLAST_HTTP_PORT": "eighty"}, "OUTLAST_HTTP_PORT"),
        (REQUIRED | {"OUTLAST_PLATFORM_COLOUR": "red"}, "OUTLAST_PLATFORM_COLOUR"),
    ):
        with pytest.raises(SettingsError, match=name):
            read_settings(variables)


def test_a_key_is_good_until_it_is_revoked_or_replaced() -> None:
    directory = IdentityDirectory()
    keyring = Keyring(directory, "")
    directory.apply(record(identity("first", 1)))
    assert keyring.caller("first").company_id == "acme"
    directory.is_ready = True
    directory.apply(record(identity("second", 2)))
    assert status_of(keyring, "first") == 401
    directory.apply(record(identity("second", 3, is_revoked=True)))
    directory.apply(record(identity("second", 2)))
    assert status_of(keyring, "second") == 401


def test_an_unknown_key_is_asked_to_try_again_until_all_identities_are_read() -> None:
    directory = IdentityDirectory()
    assert status_of(Keyring(directory, ""), "who") == 503
    directory.is_ready = True
    assert status_of(Keyring(directory, ""), "who") == 401


def test_records_that_are_no_identities_hide_no_other() -> None:
    directory = IdentityDirectory()
    for received in (
        record(None),
        record(Head(revision=1, count=1)),
        Received("identities", 0, 0, 0, None, b"\xff"),
    ):
        directory.apply(received)
    directory.apply(record(identity("key", 1)))
    assert Keyring(directory, "").caller("key").name == "Eve"


def test_the_service_token_is_nobodys_where_none_is_set() -> None:
    directory = IdentityDirectory()
    directory.is_ready = True
    assert Keyring(directory, "token").caller("token") is SERVICE
    assert status_of(Keyring(directory, ""), "") == 401
    assert not Keyring(directory, "").is_service(b"")


def test_roles_reach_as_far_as_they_do_and_a_service_only_its_scopes() -> None:
    analyst = Caller("a", "A", "acme", Role.SOC_ANALYST)
    analyst.need(Role.REMEDIATION_OWNER)
    with pytest.raises(Problem):
        analyst.need(Role.SECURITY_ENGINEER)
    machine = Caller("m", "M", "acme", Role.SERVICE, ("import_findings",))
    machine.need(Role.SECURITY_ENGINEER, scope="import_findings")
    with pytest.raises(Problem):
        machine.need(Role.REMEDIATION_OWNER, scope="read_findings")


def test_another_company_is_answered_as_one_that_does_not_exist() -> None:
    analyst = Caller("a", "A", "acme", Role.SOC_ANALYST)
    assert analyst.company(None) == analyst.company("acme") == "acme"
    with pytest.raises(Problem) as problem:
        analyst.company("globex")
    assert problem.value.status == 404
    with pytest.raises(Problem) as problem:
        SERVICE.company(None)
    assert problem.value.status == 400


def test_ids_are_uuids_that_sort_by_the_time_of_their_making() -> None:
    import uuid

    ids = [new_id() for _ in range(50)]
    assert {uuid.UUID(each).version for each in ids} == {7}
    assert len(set(ids)) == 50
    assert [each[:8] for each in ids] == sorted(each[:8] for each in ids)
