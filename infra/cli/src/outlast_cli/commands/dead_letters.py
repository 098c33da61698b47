"""`outlast dlq`: messages that nobody could take, why, and sending them again."""

import click

from outlast.contracts.topics import SERVICES
from outlast_cli import dead_letter_reader
from outlast_cli.context import Session, as_json, pass_session
from outlast_cli.output import ago, pretty, print_json, print_table, printable


@click.group("dlq")
def dead_letters() -> None:
    """Dead letters: messages that could not be taken. Reads the broker directly."""


@dead_letters.command("list")
@click.option("--service", type=click.Choice(SERVICES), help="Only those of one service.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000))
@as_json
@pass_session
def list_(session: Session, service: str | None, limit: int, is_json: bool) -> None:
    """The newest dead letters."""
    services = SERVICES if service is None else (service,)
    letters = dead_letter_reader.read(session.bootstrap(), services, limit)
    if is_json:
        print_json({"items": [letter.as_json() for letter in letters], "next": None})
        return
    rows = [
        (letter.origin.id, letter.origin.service, ago(letter.at.isoformat()), printable(letter.origin.error))
        for letter in letters
    ]
    print_table(("id", "service", "when", "error"), rows, empty="No dead letters.")


@dead_letters.command("show")
@click.argument("letter_id", metavar="ID")
@as_json
@pass_session
def show(session: Session, letter_id: str, is_json: bool) -> None:
    """One dead letter whole."""
    letter = dead_letter_reader.find(session.bootstrap(), letter_id)
    if is_json:
        print_json(letter.as_json())
        return
    click.echo(pretty(letter.as_json()))


@dead_letters.command("resend")
@click.argument("letter_ids", metavar="ID...", nargs=-1, required=True)
@pass_session
def resend(session: Session, letter_ids: tuple[str, ...]) -> None:
    """Send messages again to the topics that they came from, when what was wrong is mended."""
    bootstrap = session.bootstrap()
    for letter_id in letter_ids:
        topic = dead_letter_reader.resend(bootstrap, dead_letter_reader.find(bootstrap, letter_id))
        click.echo(f"sent again to {topic}: {letter_id}")
