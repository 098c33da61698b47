"""`outlast signal`: what runs wait for, sent by hand; and what became of it."""

import json
import sys
import time
import uuid
from typing import Any

import click

from outlast_cli.client import Client
from outlast_cli.context import Session, as_json, pass_session
from outlast_cli.failures import Failure, refuse
from outlast_cli.output import print_json, printable

WAIT_SECONDS_DEFAULT = 5.0
ANSWER_SECONDS_MAX = 20.0
"""How long one request stays open; a longer wait asks again."""
POLL_SECONDS = 0.5
UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
OPEN = "pending"
BAD = {"late", "unknown", "rejected"}
SENTENCES = {
    "consumed": "run {run} took it and goes on",
    "early": "run {run} keeps it: no step of it waits for {name} yet; the first that does takes it",
    "late": "run {run} has ended, or ended without waiting for {name}; why: outlast run show {run}",
    "unknown": "there is no run {run} of this company; those that wait: outlast run list --status waiting",
    "rejected": "run {run} has taken in as many signals as it may; what came: outlast run show {run}",
}


class _SignalGroup(click.Group):
    """`outlast signal NAME` is `outlast signal send NAME`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Lay in `send` where no command stands."""
        if args and args[0] not in {*self.commands, *ctx.help_option_names}:
            args = ["send", *args]
        return super().parse_args(ctx, args)


class Duration(click.ParamType):
    """`10s`, `30m`, `72h`, `7d`: seconds as a number."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number of seconds."""
        if isinstance(value, float):
            return value
        text = str(value)
        if not text[:-1].isdecimal() or text[-1] not in UNITS:
            self.fail(f"expected 10s, 30m, 72h or 7d, got {text!r}", param, ctx)
        return float(int(text[:-1]) * UNITS[text[-1]])


@click.group(cls=_SignalGroup, subcommand_metavar="NAME (--run ID | --key KEY) [OPTIONS] | show ID")
def signal() -> None:
    """Send a signal to a run that waits for it, or ask what became of one.

    \b
    outlast signal approved --run ID                   to one run
    outlast signal approved --key F-1042               to every run that waits with this key
    outlast signal approved --run ID --payload '{"by": "eve"}'
    outlast signal show SIGNAL_ID                      what became of it

    All options: outlast signal send --help. A signal that is called like a command: outlast signal send show ...
    """


@signal.command("send")
@click.argument("name", metavar="NAME")
@click.option("--run", "run_id", metavar="ID", help="The run that it is for.")
@click.option("--key", metavar="KEY", help="Instead: every run that waits with this correlation key.")
@click.option("--payload", metavar="JSON|@FILE|-", help="What it carries; - reads standard input.")
@click.option("--id", "signal_id", metavar="ID", help="The same id again is the same signal: it counts once.")
@click.option("--for-future", is_flag=True, help="With --key: also for runs that start after it was sent.")
@click.option("--expires", type=Duration(), metavar="72h", help="How long it is kept for runs to come: 72h.")
@click.option(
    "--wait", type=Duration(), default=WAIT_SECONDS_DEFAULT, metavar="10s", show_default="5s",
    help="How long to wait for what becomes of it; 0s does not.",
)  # fmt: skip
@as_json
@pass_session
def send(
    session: Session,
    name: str,
    run_id: str | None,
    key: str | None,
    payload: str | None,
    signal_id: str | None,
    for_future: bool,
    expires: float | None,
    wait: float,
    is_json: bool,
) -> None:
    """Send the signal NAME; says what became of it in each run.

    Exit status: 0 taken, kept, or on its way; 1 where a run had ended, is unknown or takes no more; 2 refused.
    """
    if (run_id is None) == (key is None):
        refuse("expected either --run or --key", next_step=f"outlast signal {name} --run ID, or: --key KEY")
    if for_future and run_id is not None:
        refuse("--for-future is for signals by --key", next_step="a run keeps what comes early by itself")
    body: dict[str, object] = {"name": name, "id": signal_id or str(uuid.uuid4())}
    body |= {"execution_id": run_id} if run_id is not None else {"key": key}
    if payload is not None:
        body["payload"] = read_payload(payload)
    if for_future:
        body["for_future"] = True
    if expires is not None:
        body["expires_in"] = f"{expires:.0f}s"
    client = session.client()
    began = time.monotonic()
    answer = client.signals("POST", "/signals", body, wait=f"{min(wait, ANSWER_SECONDS_MAX):.0f}s")
    while not is_settled(answer) and time.monotonic() - began < wait:
        time.sleep(POLL_SECONDS)
        answer = client.signals("GET", f"/signals/{answer['id']}")
    _tell(answer, is_json)


@signal.command("show")
@click.argument("signal_id", metavar="ID")
@as_json
@pass_session
def show(session: Session, signal_id: str, is_json: bool) -> None:
    """What became of a signal; exit status as of sending it."""
    client: Client = session.client()
    _tell(client.signals("GET", f"/signals/{signal_id}"), is_json)


def is_settled(answer: dict[str, Any]) -> bool:
    """Whether every run that it went to has said what became of it."""
    verdicts = [verdict for verdict, _ in _deliveries(answer)]
    return bool(verdicts) and "" not in verdicts


def _deliveries(answer: dict[str, Any]) -> list[tuple[str, str]]:
    """(verdict, run) each; "" while a run has not answered. A run may be unknown to the engine for a moment only."""
    is_open = answer.get("status") == OPEN
    return [
        ("" if is_open and each["verdict"] == "unknown" else each["verdict"] or "", each["execution_id"])
        for each in answer["deliveries"]
    ]


def read_payload(text: str, option: str = "--payload") -> object:
    """The JSON of an option: itself, @FILE, or - for standard input."""
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            with open(text[1:], encoding="utf-8") as file:
                text = file.read()
        return json.loads(text)
    except OSError as fault:
        refuse(f"cannot read {text[1:]}: {fault.strerror}", next_step=f"{option} JSON, @FILE, or -")
    except (ValueError, RecursionError) as fault:
        refuse(
            f"what {option} says is not JSON: {fault}",
            next_step=f"""a text is JSON in quotes: {option} '"yes"'""",
        )


def _tell(answer: dict[str, Any], is_json: bool) -> None:
    name, deliveries = str(answer["name"]), _deliveries(answer)
    bad = [_sentence(verdict, run, name) for verdict, run in deliveries if verdict in BAD]
    if is_json:
        print_json(answer)
    else:
        for verdict, run in deliveries:
            if verdict not in BAD:
                click.echo(_sentence(verdict, run, name))
        if not deliveries:
            click.echo(f"{answer['status']}: no run has it yet; it is kept until {answer['expires_at']}")
        click.echo(f"what becomes of it: outlast signal show {printable(str(answer['id']))}", err=True)
    if bad:
        failure = Failure(bad[0], errors=[("", each) for each in bad[1:]], code="undeliverable")
        if not is_json:
            raise failure
        failure.show()
        raise click.exceptions.Exit(1)


def _sentence(verdict: str, run: str, name: str) -> str:
    known = SENTENCES.get(verdict, "run {run} has not answered yet; it is sent again until it has")
    return printable(known.format(run=run, name=name))
