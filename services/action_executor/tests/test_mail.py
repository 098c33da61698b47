"""Mail, from rendered input to a real SMTP server and back."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import trustme

from outlast.actions import ActionFailed, Mail
from outlast.clock import SystemClock
from outlast.contracts.messages import EventReference, RunActivity, RunbookReference
from outlast.testing.mail_server import MailServer
from outlast_action_executor.core.claim import Resolution
from outlast_action_executor.core.letters import LetterRefused, mailbox, write_letter
from outlast_action_executor.guard import Guard
from outlast_action_executor.mail import SmtpMailer
from outlast_action_executor.platform import PlatformFindings
from outlast_action_executor.ports import Ran
from outlast_action_executor.registry import load_registry
from outlast_action_executor.relay import read_relay, read_senders
from outlast_action_executor.runner import ActionRunner
from outlast_action_executor.web import Web

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
SENDERS = read_senders("Outlast <outlast@example.org>", ["acme=*@acme.example", "globex=soc@globex.example"])
CONFIG = {"to": ["ana@example.org"], "subject": "Hello", "body": "A line.\n.\nAnother."}
LOOPBACK = ["127.0.0.0/8"]

Send = Callable[..., Any]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_side(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


def client_side(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@asynccontextmanager
async def running(server: MailServer) -> AsyncIterator[MailServer]:
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@pytest.fixture
async def server() -> AsyncIterator[MailServer]:
    async with running(MailServer()) as server:
        yield server


def activity(config: object, **changes: Any) -> RunActivity:
    return RunActivity(
        **{
            "execution_id": "018bcfe5-6800-8002-a4b7-f58a9ea932a5",
            "activity_id": "tell",
            "attempt": 1,
            "company_id": "acme",
            "runbook": RunbookReference(id="rb", name="Tell", version=3, sha256="0" * 64),
            "event": EventReference(source="s", id="e", type="finding_created", time=NOW),
            "action": "send_email",
            "input": msgspec.Raw(msgspec.json.encode(config)),
            "timeout_seconds": 5.0,
            **changes,
        }
    )


async def send(
    server: MailServer | None,
    config: object = CONFIG,
    url: str = "smtp://127.0.0.1:{port}?starttls=never",
    tls: ssl.SSLContext | None = None,
    allow: list[str] = LOOPBACK,
    resolution: Resolution | None = None,
    **changes: Any,
) -> Ran:
    """The action as the executor runs it."""
    mailer = None
    if server is not None:
        mailer = SmtpMailer(read_relay(url.format(port=server.port)), SENDERS, Guard(allow), tls=tls)
    web = Web(Guard([]))
    runner = ActionRunner(
        load_registry(), web, PlatformFindings("http://127.0.0.1:9", "", web), SystemClock(), mailer
    )
    asked = activity(config, **changes)
    return await runner.run(asked, runner.plan(asked), resolution, "")


def output(ran: Ran) -> Any:
    assert ran.error is None, ran.error
    return msgspec.json.decode(ran.output)  # type: ignore[arg-type]


def said(ran: Ran) -> tuple[str, bool]:
    assert ran.error is not None, ran.output
    return ran.error.code, ran.error.retryable


async def test_a_mail_arrives_as_it_was_written(server: MailServer) -> None:
    config = {
        "to": ["Ana Müller <ana@example.org>", "bob@bücher.example"],
        "cc": "eve@example.org",
        "subject": "Grüße: <b>high</b>",
        "body": "Zeile eins\n.\nZeile drei mit ü",
        "html": "<p>Zeile <b>eins</b></p>",
    }
    told = output(await send(server, config))
    (taken,) = server.taken
    assert taken.sender == "outlast@example.org"
    assert taken.recipients == ["ana@example.org", "bob@xn--bcher-kva.example", "eve@example.org"]
    assert told["accepted"] == taken.recipients
    assert (told["refused"], told["reply"]) == ([], "250 OK: queued as 7F3A")
    message = taken.message
    assert message["From"] == "Outlast <outlast@example.org>"
    assert message["To"].addresses[0].display_name == "Ana Müller"
    assert message["Cc"] == "eve@example.org"
    assert message["Subject"] == config["subject"]
    assert message["Message-ID"] == told["message_id"]
    assert message["Auto-Submitted"] == "auto-generated"
    assert abs((message["Date"].datetime - datetime.now(UTC)).total_seconds()) < 60
    text, html = message.iter_parts()
    assert text.get_content().splitlines() == config["body"].splitlines()  # type: ignore[attr-defined]
    assert html.get_content().strip() == config["html"]  # type: ignore[attr-defined]
    assert all(len(line) <= 998 for line in taken.data.split(b"\r\n"))


async def test_every_attempt_sends_the_same_message_id_and_another_action_another(server: MailServer) -> None:
    first = output(await send(server))
    again = output(await send(server, attempt=2))
    other = output(await send(server, activity_id="tell_again"))
    elsewhere = output(await send(server, company_id="globex"))
    assert first["message_id"] == again["message_id"]
    assert len({first["message_id"], other["message_id"], elsewhere["message_id"]}) == 3


@pytest.mark.parametrize(
    "config",
    [
        {**CONFIG, "to": ["ana@example.org\r\nBcc: eve@evil.example"]},
        {**CONFIG, "to": ["Ana\r\nBcc: eve@evil.example <ana@example.org>"]},
        {**CONFIG, "cc": ["ana@example.org\n"]},
        {**CONFIG, "subject": "Hello\r\nBcc: eve@evil.example"},
        {**CONFIG, "subject": "Hello\n\nBody"},
        {**CONFIG, "subject": "Hello\u2028Bcc: x"},
        {**CONFIG, "from": "soc@acme.example\r\nBcc: eve@evil.example"},
        {**CONFIG, "to": ["ana@example.org, eve@evil.example"]},
        {**CONFIG, "to": ["ana@example.org>\r\nRCPT TO:<eve@evil.example"]},
        {**CONFIG, "to": ["<ana@example.org> <eve@evil.example>"]},
        {**CONFIG, "to": ["ana"]},
        {**CONFIG, "to": ["ana@"]},
        {**CONFIG, "to": ["ana@-x.example"]},
        {**CONFIG, "to": ["anä@example.org"]},
        {**CONFIG, "from": "ceo@globex.example"},
        {**CONFIG, "from": "soc@globex.example"},
        {**CONFIG, "body": "x" * 600_000},
    ],
)
async def test_a_mail_that_is_not_what_it_seems_is_refused_before_anybody_is_asked(
    server: MailServer, config: dict[str, Any]
) -> None:
    ran = await send(server, config)
    assert said(ran) in {("invalid_mail", False), ("input_too_large", False)}
    assert (server.connections, server.taken) == (0, [])


async def test_a_company_may_send_from_what_the_operator_allows_it(server: MailServer) -> None:
    output(await send(server, {**CONFIG, "from": "SOC <soc@acme.example>"}))
    output(await send(server, {**CONFIG, "from": "outlast@example.org"}))
    assert [taken.sender for taken in server.taken] == ["soc@acme.example", "outlast@example.org"]


@pytest.mark.parametrize(
    ("step", "reply", "expected"),
    [
        ("MAIL", "421 closing", ("smtp_421", True)),
        ("MAIL", "451 later", ("smtp_451", True)),
        ("MAIL", "550 no", ("smtp_550", False)),
        ("DATA", "421 closing", ("smtp_421", True)),
        ("DATA", "452 full", ("smtp_452", True)),
        ("DATA", "554 it looks like spam", ("smtp_554", False)),
        ("MAIL", "drop", ("connection_failed", True)),
        ("RCPT", "drop", ("connection_failed", True)),
    ],
)
async def test_what_the_relay_answers_decides_whether_it_is_tried_again(
    server: MailServer, step: str, reply: str, expected: tuple[str, bool]
) -> None:
    server.replies[step] = reply
    for on_unknown in ("retry", "fail"):
        assert said(await send(server, on_unknown=on_unknown)) == expected
    assert server.taken == []


@pytest.mark.parametrize(
    ("recipients", "expected"),
    [
        (["450-busy@x.example"], ("smtp_450", True)),
        (["550-gone@x.example"], ("smtp_550", False)),
        (["550-gone@x.example", "450-busy@x.example"], ("smtp_450", True)),
        (["ana@x.example", "421-off@x.example"], ("smtp_421", True)),
    ],
)
async def test_recipients_that_are_all_refused_fail_the_mail(
    server: MailServer, recipients: list[str], expected: tuple[str, bool]
) -> None:
    ran = await send(server, {**CONFIG, "to": recipients})
    assert said(ran) == expected
    assert server.taken == []


async def test_recipients_that_are_refused_beside_others_are_told(server: MailServer) -> None:
    recipients = ["550-gone@x.example", "ana@x.example", "450-busy@x.example"]
    told = output(await send(server, {**CONFIG, "to": recipients}))
    assert told["accepted"] == server.taken[0].recipients == ["ana@x.example"]
    assert [(each["address"], each["code"]) for each in told["refused"]] == [
        ("550-gone@x.example", 550),
        ("450-busy@x.example", 450),
    ]


@pytest.mark.parametrize(
    ("on_unknown", "expected", "resolved"),
    [("retry", ("connection_lost", True), ""), ("fail", ("outcome_unknown", False), "failed")],
)
@pytest.mark.parametrize("reply", ["drop", "hang"])
async def test_a_mail_whose_answer_is_lost_is_sent_again_only_where_the_runbook_says_so(
    server: MailServer, reply: str, on_unknown: str, expected: tuple[str, bool], resolved: str
) -> None:
    server.replies["DATA"] = reply
    ran = await send(server, on_unknown=on_unknown, timeout_seconds=0.6)
    assert said(ran) == expected
    assert ran.resolved == resolved
    assert len(server.taken) == 1


async def test_a_mail_of_a_process_that_died_is_resolved_as_the_runbook_says(server: MailServer) -> None:
    """The claim of an attempt that is not idempotent, without a result: on_unknown has decided."""
    first = output(await send(server))
    failed = await send(server, resolution=Resolution.FAIL)
    assert said(failed) == ("outcome_unknown", False)
    assert len(server.taken) == 1
    again = await send(server, resolution=Resolution.RETRY)
    assert (output(again)["message_id"], again.resolved) == (first["message_id"], "retried")
    registered = load_registry().get("send_email")
    assert registered is not None
    assert not registered.type.is_idempotent


async def test_a_relay_that_says_nothing_before_the_mail_costs_no_certainty(server: MailServer) -> None:
    server.replies["MAIL"] = "hang"
    assert said(await send(server, on_unknown="fail", timeout_seconds=0.6)) == ("timeout", True)


async def test_starttls_encrypts_and_then_authenticates(authority: trustme.CA) -> None:
    context = server_side(authority, "127.0.0.1")
    async with running(MailServer(tls=context, password="pa:ss/word")) as server:
        url = "smtp://outlast:pa%3Ass%2Fword@127.0.0.1:{port}"
        output(await send(server, url=url, tls=client_side(authority)))
        assert [(each.is_encrypted, each.user) for each in server.taken] == [(True, "outlast")]


async def test_tls_from_the_first_byte_on(authority: trustme.CA) -> None:
    async with running(MailServer(tls=server_side(authority, "127.0.0.1"), is_implicit=True)) as server:
        output(await send(server, url="smtps://127.0.0.1:{port}", tls=client_side(authority)))
        assert len(server.taken) == 1


@pytest.mark.parametrize(
    ("url", "is_implicit"), [("smtp://127.0.0.1:{port}", False), ("smtps://127.0.0.1:{port}", True)]
)
async def test_a_certificate_of_somebody_else_ends_it(
    authority: trustme.CA, url: str, is_implicit: bool
) -> None:
    for trusted, name in ((trustme.CA(), "127.0.0.1"), (authority, "relay.example")):
        async with running(MailServer(tls=server_side(authority, name), is_implicit=is_implicit)) as server:
            assert said(await send(server, url=url, tls=client_side(trusted))) == ("tls_failed", False)
            assert server.taken == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://127.0.0.1:{port}", "tls_failed"),
        ("smtp://u:secret-word@127.0.0.1:{port}?starttls=required", "tls_failed"),
        ("smtp://u:secret-word@127.0.0.1:{port}?starttls=optional", "tls_failed"),
        ("smtp://127.0.0.1:{port}?starttls=optional", None),
        ("smtp://u:pass@127.0.0.1:{port}?starttls=never", None),
    ],
)
async def test_without_starttls_nothing_goes_out_that_should_be_encrypted(
    url: str, expected: str | None
) -> None:
    async with running(MailServer(password="pass")) as server:
        ran = await send(server, url=url)
        assert (ran.error.code if ran.error else None) == expected
        assert len(server.taken) == (0 if expected else 1)


async def test_a_wrong_password_is_told_without_it() -> None:
    async with running(MailServer(password="right")) as server:
        ran = await send(server, url="smtp://outlast:secret-word@127.0.0.1:{port}?starttls=never")
        assert said(ran) == ("smtp_535", False)
        assert "secret-word" not in str(ran.error)


async def test_a_mail_larger_than_the_relay_takes_is_not_begun() -> None:
    async with running(MailServer(size_max=2_000)) as server:
        assert said(await send(server, {**CONFIG, "body": "x" * 5_000})) == ("mail_too_large", False)
        assert server.taken == []


@pytest.mark.parametrize(
    ("allow", "is_sent"),
    [
        ([], False),
        (["smtp://127.0.0.1:1"], False),
        (["smtp://127.0.0.1:{port}"], True),
        (["127.0.0.1:*"], True),
        (LOOPBACK, True),
    ],
)
async def test_an_internal_relay_is_reached_only_if_the_operator_opened_it(
    server: MailServer, allow: list[str], is_sent: bool
) -> None:
    ran = await send(server, allow=[each.format(port=server.port) for each in allow])
    assert (ran.error is None) is is_sent
    assert ran.error is None or said(ran) == ("egress_refused", False)
    assert server.connections == (1 if is_sent else 0)


class Names:
    """A resolver that knows where every name leads."""

    def __init__(self, address: str) -> None:
        self.address = address

    async def resolve(self, host: str, port: int) -> list[str]:
        return [self.address]


@pytest.mark.parametrize(
    ("address", "expected"), [("169.254.169.254", "egress_refused"), ("127.0.0.1", None)]
)
async def test_the_name_of_a_relay_leads_no_further_than_an_address_does(
    server: MailServer, address: str, expected: str | None
) -> None:
    relay = read_relay(f"smtp://relay.example:{server.port}?starttls=never")
    mailer = SmtpMailer(relay, SENDERS, Guard(LOOPBACK), Names(address))
    mail = Mail(
        company_id="acme", key="k", at=NOW, within_seconds=5, to=("a@x.example",), subject="s", text="t"
    )
    if expected is None:
        assert (await mailer.send(mail)).accepted == ("a@x.example",)
        return
    with pytest.raises(ActionFailed) as failure:
        await mailer.send(mail)
    assert failure.value.code == expected


async def test_what_is_opened_for_mail_is_closed_to_requests(server: MailServer) -> None:
    guard = Guard([f"smtp://127.0.0.1:{server.port}"])
    runner = ActionRunner(
        load_registry(), Web(guard), PlatformFindings("http://127.0.0.1:9", "", Web(guard)), SystemClock()
    )
    asked = activity({"url": f"http://127.0.0.1:{server.port}/"}, action="http_request")
    ran = await runner.run(asked, runner.plan(asked), None, "")
    assert said(ran) == ("egress_refused", False)
    assert server.connections == 0


async def test_without_a_relay_mail_fails_and_says_why() -> None:
    assert said(await send(None)) == ("mail_not_configured", False)


async def test_a_relay_that_is_away_is_tried_again(server: MailServer) -> None:
    await server.stop()
    assert said(await send(server)) == ("connection_failed", True)


async def test_what_does_not_speak_smtp_is_not_a_relay() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    other = MailServer(port=listening.sockets[0].getsockname()[1])
    assert said(await send(other)) == ("connection_failed", True)
    listening.close()


def test_mail_has_one_cap_for_its_relay() -> None:
    registered = load_registry().get("send_email")
    assert registered is not None
    assert registered.type.destination is not None
    assert registered.type.destination(registered.decoder.decode(msgspec.json.encode(CONFIG))) == "smtp"


@pytest.mark.parametrize(
    "text", ["", "a b@x.example", "a@x.example;b@x.example", "<a@x.example", "a@[10.0.0.1]"]
)
def test_what_is_no_single_address_is_refused(text: str) -> None:
    with pytest.raises(LetterRefused, match="to"):
        mailbox(text, "to")


def test_the_same_mail_gives_the_same_bytes() -> None:
    mail = Mail(
        company_id="acme",
        key="k",
        at=NOW,
        within_seconds=1,
        to=("a@x.example",),
        subject="s",
        text="t",
        html="<b>t</b>",
    )
    assert write_letter(mail, SENDERS.default) == write_letter(mail, SENDERS.default)


@pytest.mark.parametrize(
    "url",
    [
        "http://relay.example",
        "smtp://",
        "smtp://relay.example:99999",
        "smtp://relay.example?starttls=maybe",
        "smtp://relay.example?tls=no",
        "smtp://re lay.example",
        "smtp://relay.example/queue",
        "relay.example:25",
    ],
)
def test_a_relay_that_cannot_be_meant_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        read_relay(url)


def test_a_relay_keeps_its_password_to_itself() -> None:
    relay = read_relay("smtp://outlast:secret-word@relay.example")
    assert (relay.password, relay.target.port, relay.encryption) == ("secret-word", 587, "required")
    assert "secret-word" not in repr(relay)
