"""The HTTP door: who may send what, what is taken, and what is told of it."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tests.stores.memory_signals import MemorySignalStore

from outlast.contracts import codec
from outlast.contracts.messages import Identity
from outlast.contracts.topics import IDENTITIES, SIGNALS, TopicPartition
from outlast.db.local import LocalFence
from outlast.errors import TransientError
from outlast.messaging.ports import Received
from outlast.testing.world import SimulatedClock
from outlast_signal_delivery.access import Keyring
from outlast_signal_delivery.api import make_api
from outlast_signal_delivery.core.delivery import RANKS, delivery_id
from outlast_signal_delivery.identities import IdentityDirectory
from outlast_signal_delivery.services import Services
from outlast_signal_delivery.store import Changes, NewSignal, Said
from outlast_signal_delivery.waiting import Waiting

from .world import after, execution

RUN = execution(1)
ROLES = ("remediation_owner", "soc_analyst", "security_engineer", "platform_administrator", "service")


class Door:
    """The API over rows in memory, and what it told the owners."""

    def __init__(self) -> None:
        self.store = MemorySignalStore(LocalFence())
        self.directory = IdentityDirectory()
        self.directory.is_ready = True
        self.waiting = Waiting(self.store)
        self.poked: list[NewSignal] = []
        self.has_poked = asyncio.Event()
        self.revision = 0
        names = iter(f"generated-{number}" for number in range(1_000))
        self.api = make_api(
            Services(
                self.store, Keyring(self.directory), self.waiting, SimulatedClock(), self._poke,
                lambda: next(names),
            )
        )  # fmt: skip
        for role in ROLES[:3]:
            self.identity(role, "acme", role)
            self.identity(f"other-{role}", "other", role)
        self.identity("platform_administrator", "", "platform_administrator")

    def _poke(self, signal: NewSignal) -> None:
        self.poked.append(signal)
        self.has_poked.set()

    def identity(self, key: str, company: str, role: str, *scopes: str, is_revoked: bool = False) -> None:
        """A key, as its topic brings it."""
        self.revision += 1
        digest = hashlib.sha256(key.encode()).hexdigest()
        message = Identity(
            id=f"id-{key}", key_sha256=digest, name=f"{key} of {company}", company_id=company, role=role,
            scopes=scopes, is_revoked=is_revoked, revision=self.revision,
        )  # fmt: skip
        self.directory.apply(Received(IDENTITIES, 0, 0, 0, key.encode(), codec.encode(message)))

    async def say(self, signal_id: str, verdict: str, run: str = RUN, company: str = "acme") -> None:
        """A verdict, as the loop stores it."""
        name = delivery_id(company, signal_id)
        done = await self.store.commit(Changes(after(1), said=[Said(name, run, verdict, RANKS[verdict])]), [])
        self.waiting.note(delivery for delivery, _ in done.verdicts)

    async def post(self, body: object, key: str | bytes = "soc_analyst", **query: str) -> httpx.Response:
        """A signal to send."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        secret = key if isinstance(key, bytes) else key.encode()
        headers = {b"authorization": b"Bearer " + secret, b"content-type": b"application/json"}
        return await self.client.post("/api/v1/signals", content=content, headers=headers, params=query)

    async def get(self, signal_id: str, key: str = "soc_analyst", **query: str) -> httpx.Response:
        """What became of it."""
        headers = {"authorization": f"Bearer {key}"}
        return await self.client.get(f"/api/v1/signals/{signal_id}", headers=headers, params=query)

    client: httpx.AsyncClient


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    made = Door()
    transport = httpx.ASGITransport(made.api, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://signals") as client:
        made.client = client
        yield made


def signal(**changes: object) -> dict[str, Any]:
    return {"name": "approved", "execution_id": RUN, "id": "s1"} | changes


def without_run(**changes: object) -> dict[str, Any]:
    return {"name": "approved", "id": "s1"} | changes


async def test_a_signal_is_recorded_and_its_owner_told_before_the_answer(door: Door) -> None:
    answer = await door.post(signal(payload={"by": "eve"}))
    assert answer.status_code == 202
    assert answer.json() == {
        "id": "s1", "name": "approved", "status": "pending", "execution_id": RUN, "key": None, "for_future": False,
        "sent_by": "soc_analyst of acme", "sent_at": "2026-01-05T00:00:00Z", "expires_at": "2026-01-08T00:00:00Z",
        "deliveries": [{"execution_id": RUN, "verdict": None, "answered_at": None}], "deliveries_count": 1,
    }  # fmt: skip
    (poked,) = door.poked
    assert (poked.request.company_id, bytes(poked.request.payload)) == ("acme", b'{"by":"eve"}')
    assert (await door.get("s1")).json() == answer.json()


@pytest.mark.parametrize("name", ["ticket/4711", "a:b.c_d-e"])
async def test_whatever_id_is_taken_can_be_asked_for(door: Door, name: str) -> None:
    assert (await door.post(signal(id=name))).status_code == 202
    assert (await door.get(name)).json()["id"] == name
    assert (await door.get(name.replace("/", "%2F"))).json()["id"] == name


async def test_without_an_id_each_request_is_a_signal(door: Door) -> None:
    body = {"name": "approved", "key": "F-1"}
    ids = {(await door.post(body)).json()["id"] for _ in range(2)}
    assert ids == {"generated-0", "generated-1"}


async def test_the_same_id_again_is_the_same_signal_and_says_what_became_of_it(door: Door) -> None:
    await door.post(signal())
    await door.say("s1", "consumed")
    answer = await door.post(signal())
    assert (answer.status_code, answer.json()["status"]) == (202, "delivered")
    assert len(door.poked) == 1


@pytest.mark.parametrize(
    "other",
    [signal(name="denied"), signal(payload=1), signal(execution_id=execution(2)), without_run(key="F-1")],
)
async def test_the_same_id_for_another_signal_is_refused(door: Door, other: dict[str, Any]) -> None:
    await door.post(signal())
    answer = await door.post(other)
    assert (answer.status_code, answer.json()["code"]) == (409, "signal_id_taken")


@pytest.mark.parametrize(
    ("verdict", "status"),
    [
        ("consumed", "delivered"), ("early", "delivered"), ("late", "undeliverable"), ("unknown", "undeliverable"),
        ("rejected", "undeliverable"),
    ],
)  # fmt: skip
async def test_who_waits_is_answered_when_the_verdict_is_there(door: Door, verdict: str, status: str) -> None:
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        asking = group.create_task(door.post(signal(), wait="30s"))
        await asyncio.wait_for(door.has_poked.wait(), 10)
        await door.say("s1", verdict)
    answer = asking.result()
    assert (answer.status_code, answer.json()["status"]) == (200, status)
    assert [each["verdict"] for each in answer.json()["deliveries"]] == [verdict]


async def test_who_waits_in_vain_is_told_that_it_is_pending(door: Door) -> None:
    answer = await door.post(without_run(key="F-1"), wait="1s")
    assert (answer.status_code, answer.json()["status"]) == (202, "pending")


@pytest.mark.parametrize("role", ["soc_analyst", "security_engineer"])
async def test_analysts_and_above_send_any_signal_of_their_company(door: Door, role: str) -> None:
    assert (await door.post(signal(), key=role)).status_code == 202
    assert (await door.get("s1", key=role)).status_code == 200


async def test_a_remediation_owner_is_told_that_it_cannot_yet(door: Door) -> None:
    for answer in (await door.post(signal(), key=ROLES[0]), await door.get("s1", key=ROLES[0])):
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert "Remediation owners cannot send signals yet" in answer.json()["detail"]
    assert not door.store.deliveries


async def test_an_administrator_names_the_company(door: Door) -> None:
    key = "platform_administrator"
    assert (await door.post(signal(), key=key)).json()["code"] == "company_needed"
    assert (await door.post(signal(), key=key, company="acme")).status_code == 202
    assert (await door.get("s1", key=key, company="acme")).status_code == 200
    assert (await door.get("s1", key=key, company="other")).status_code == 404


@pytest.mark.parametrize(
    ("scopes", "status"),
    [
        ((), 403), (("publish_events",), 403), (("send_signal:denied",), 403), (("send_signal:",), 403),
        (("send_signals",), 202), (("send_signal:approved",), 202),
    ],
)  # fmt: skip
async def test_a_machine_account_sends_what_its_scopes_name(
    door: Door, scopes: tuple[str, ...], status: int
) -> None:
    door.identity("robot", "acme", "service", *scopes)
    assert (await door.post(signal(), key="robot")).status_code == status
    await door.post(signal())
    shown = await door.get("s1", key="robot")
    assert shown.status_code == (200 if status == 202 else shown.status_code)
    assert (shown.status_code == 200) == (status == 202)


async def test_a_signal_of_another_company_is_like_one_that_never_was(door: Door) -> None:
    await door.post(signal())
    other = await door.get("s1", key="other-soc_analyst")
    never = await door.get("s2", key="other-soc_analyst")
    assert (other.status_code, other.content) == (404, never.content)
    named = await door.get("s1", key="other-soc_analyst", company="acme")
    assert named.status_code == 404
    posted = await door.post(signal(id="s3"), key="other-soc_analyst", company="acme")
    assert (posted.status_code, len(door.store.deliveries)) == (404, 1)


async def test_a_run_of_another_company_is_like_one_that_never_was(door: Door) -> None:
    """Both are taken, and it is the engine that knows neither: it is asked in the name of the sender's company."""
    of_acme = await door.post(signal(), key="other-soc_analyst")
    unborn = await door.post(signal(id="s2", execution_id=execution(9)), key="other-soc_analyst")
    assert (of_acme.status_code, unborn.status_code) == (202, 202)
    assert {each.request.company_id for each in door.poked} == {"other"}


async def test_two_companies_may_use_one_id(door: Door) -> None:
    await door.post(signal())
    answer = await door.post(signal(name="denied"), key="other-soc_analyst")
    assert answer.status_code == 202
    assert (await door.get("s1")).json()["name"] == "approved"


async def test_without_a_key_or_with_a_revoked_one_nothing_is_done(door: Door) -> None:
    door.identity("soc_analyst", "acme", "soc_analyst", is_revoked=True)
    answers = [
        await door.post(signal()), await door.get("s1"), await door.post(signal(), key="nobody"),
        await door.post(signal(), key="\ud800".encode("utf-8", "surrogatepass")),
        await door.client.post("/api/v1/signals", json=signal()), await door.client.get("/api/v1/signals/s1"),
    ]  # fmt: skip
    assert [answer.status_code for answer in answers] == [401] * 6
    assert not door.store.deliveries


async def test_while_identities_are_being_read_a_key_is_asked_to_come_again(door: Door) -> None:
    door.directory.is_ready = False
    answer = await door.post(signal(), key="nobody-yet")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_a_store_that_is_away_is_said(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> bool:
        raise TransientError("expected an answer")

    monkeypatch.setattr(door.store, "accept", away)
    answer = await door.post(signal())
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert not door.poked


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"", ""), (b"{", None), (b"[]", None), (b'"\xff"', None),
        ({"execution_id": RUN}, "name"),
        (signal(name=""), "name"), (signal(name="x" * 129), "name"), (signal(name="a\x00"), "name"),
        (signal(name="\ud800"), "name"), (signal(name=7), "name"),
        (without_run(), "key"), (signal(key="F-1"), "key"),
        (without_run(key=""), "key"), (without_run(key="k" * 257), "key"), (without_run(key="\x00"), "key"),
        (without_run(key="\udfff"), "key"),
        (signal(execution_id="x"), "execution_id"), (signal(execution_id=RUN + "\n"), "execution_id"),
        (signal(id=""), "id"), (signal(id="a b"), "id"), (signal(id="a\x00"), "id"), (signal(id="x" * 129), "id"),
        (signal(id="\ud800"), "id"), (signal(id="é"), "id"),
        (signal(payload="\ud800"), "payload"), (signal(payload={"\udc00": 1}), "payload"),
        (signal(payload=float("nan")), "payload"), (signal(payload=float("inf")), "payload"),
        (b'{"name":"a","execution_id":"%s","payload":1e999}' % RUN.encode(), "payload"),
        (b'{"name":"a","execution_id":"%s","payload":%s}' % (RUN.encode(), b"[" * 65 + b"]" * 65), "payload"),
        (b'{"name":"a","execution_id":"%s","payload":%s}' % (RUN.encode(), b"[" * 50_000 + b"]" * 50_000), None),
        (b'{"name":"a","execution_id":"%s","payload":%s}' % (RUN.encode(), b"9" * 5_000), None),
        (signal(expires_in="0s"), "expires_in"), (signal(expires_in="367d"), "expires_in"),
        (signal(expires_in="999999999999999d"), "expires_in"), (signal(expires_in="soon"), "expires_in"),
        (signal(for_future=True), "for_future"), (signal(company="other"), "company"),
    ],
    ids=range(38),
)  # fmt: skip
async def test_what_cannot_be_taken_is_refused_with_its_place(
    door: Door, body: object, path: str | None
) -> None:
    answer = await door.post(body)
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    if path:
        assert [fault["path"].split(".")[-1] for fault in answer.json()["errors"]] == [path]
    assert not door.store.deliveries


@pytest.mark.parametrize(
    "payload", [None, 0, "", "\x00", [], {}, {"a": [1.5, True, None]}, "é" * 30_000, 2**63 - 1, [[[1]]]], ids=range(10)
)  # fmt: skip
async def test_any_json_that_fits_is_carried(door: Door, payload: object) -> None:
    assert (await door.post(signal(payload=payload))).status_code == 202
    (poked,) = door.poked
    assert json.loads(bytes(poked.request.payload)) == payload
    codec.signals.decode(codec.encode(poked.request))


@pytest.mark.parametrize("characters", [65_536, 300_000])
async def test_too_much_is_refused(door: Door, characters: int) -> None:
    answer = await door.post(signal(payload="x" * characters))
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert not door.store.deliveries


@pytest.mark.parametrize("wait", ["31s", "1m", "5", "-1s", "\x00", "99999999999999999s"])
async def test_a_wait_that_is_none_is_refused_before_anything_is_recorded(door: Door, wait: str) -> None:
    assert (await door.post(signal(), wait=wait)).status_code == 422
    assert not door.store.deliveries


@pytest.mark.parametrize("name", ["%00", "a%20b", "%ED%A0%80", "x" * 129, "%0A"])
async def test_an_id_that_no_signal_can_have_is_refused(door: Door, name: str) -> None:
    assert (await door.get(name)).status_code == 422


async def test_an_execution_is_the_same_in_capital_letters(door: Door) -> None:
    answer = await door.post(signal(execution_id=RUN.upper()))
    assert answer.json()["execution_id"] == RUN


async def test_a_trace_of_the_senders_goes_on(door: Door) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers = {"authorization": "Bearer soc_analyst", "traceparent": trace}
    await door.client.post("/api/v1/signals", json=signal(), headers=headers)
    assert door.poked[0].traceparent == trace


async def test_the_owners_partition_is_the_one_that_its_message_goes_to(door: Door) -> None:
    from outlast.messaging.partitioner import partition_of

    await door.post(signal())
    assert door.poked[0].bucket % 4 == TopicPartition(SIGNALS, partition_of(b"s1", 4)).partition
