"""Who may what: the order of roles, scopes of machines, and companies that do not exist for others."""

import pytest

from outlast.contracts.messages import Identity
from outlast.http.problems import Problem
from outlast_control_plane.access import Caller, Keyring, Role, identity_id, key_digest, new_key


def caller(role: Role, company: str = "acme", *scopes: str) -> Caller:
    return Caller("i", "name", company, role, scopes)


def refusal(call: object) -> Problem:
    with pytest.raises(Problem) as caught:
        call()  # pyright: ignore[reportCallIssue] a callable
    return caught.value


PEOPLE = [role for role in Role if role is not Role.SERVICE]


@pytest.mark.parametrize("least", PEOPLE)
@pytest.mark.parametrize("role", PEOPLE)
def test_a_role_may_what_lesser_ones_may(role: Role, least: Role) -> None:
    if role >= least:
        caller(role).need(least)
    else:
        assert refusal(lambda: caller(role).need(least)).status == 403


def test_a_machine_may_what_its_scopes_name_and_nothing_else() -> None:
    machine = caller(Role.SERVICE, "acme", "publish_events")
    machine.need(Role.SECURITY_ENGINEER, scope="publish_events")
    assert refusal(lambda: machine.need(Role.REMEDIATION_OWNER)).status == 403
    assert refusal(lambda: machine.need(Role.REMEDIATION_OWNER, scope="read_runs")).status == 403


def test_another_company_is_answered_as_one_that_does_not_exist() -> None:
    mine = caller(Role.SECURITY_ENGINEER)
    assert mine.company(None) == mine.company("acme") == "acme"
    first, second = refusal(lambda: mine.company("globex")), refusal(lambda: mine.company("no-such"))
    assert (
        (first.status, first.detail) == (second.status, second.detail) == (404, "There is no such company.")
    )


def test_an_administrator_names_the_company_or_sees_all() -> None:
    administrator = caller(Role.PLATFORM_ADMINISTRATOR, "")
    assert administrator.company("globex") == "globex"
    assert administrator.company_or_all(None) is None
    assert refusal(lambda: administrator.company(None)).code == "company_needed"


def test_keys_cannot_be_guessed_from_each_other_and_ids_tell_nothing_of_digests() -> None:
    first, second = new_key(), new_key()
    assert first != second
    assert len(first) > 40
    assert key_digest(first)[:8] not in identity_id(key_digest(first))


class Table:
    """Identities in memory."""

    def __init__(self) -> None:
        self.asked = 0
        self.identity = Identity(
            id="i",
            key_sha256=key_digest("olk_x"),
            name="n",
            company_id="acme",
            role="soc_analyst",
            revision=1,
        )

    async def identity_by_key(self, key_sha256: str) -> Identity | None:
        self.asked += 1
        return self.identity if key_sha256 == self.identity.key_sha256 else None


async def test_a_key_is_looked_up_once_and_again_when_something_changed() -> None:
    table = Table()
    keyring = Keyring(table)
    for _ in range(3):
        found = await keyring.caller("olk_x")
        assert found is not None
        assert found.role is Role.SOC_ANALYST
    assert table.asked == 1
    keyring.forget()
    await keyring.caller("olk_x")
    assert table.asked == 2


async def test_an_unknown_key_is_nobodys() -> None:
    assert await Keyring(Table()).caller("olk_y\ud800") is None
