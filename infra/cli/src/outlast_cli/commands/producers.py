"""`outlast producer` and `outlast company`: who may speak, and for whom. For platform administrators."""

import click

from outlast_cli.context import Session, as_json, pass_session
from outlast_cli.output import print_json, print_table


@click.group()
def producer() -> None:
    """Producers of domain events on Kafka (platform administrators)."""


@producer.command("add")
@click.argument("name")
@click.option(
    "--for", "companies", multiple=True, required=True, metavar="COMPANY", help="A company, or * for all."
)
@as_json
@pass_session
def add(session: Session, name: str, companies: tuple[str, ...], is_json: bool) -> None:
    """Register a producer: its topic is made, and it may speak for these companies."""
    item = session.client().put(f"/producers/{name}", {"companies": list(companies)})
    if is_json:
        print_json(item)
    else:
        click.echo(f"{item['name']} writes to {item['topic']} for {', '.join(item['companies'])}")


@producer.command("list")
@as_json
@pass_session
def list_(session: Session, is_json: bool) -> None:
    """Every producer."""
    items = list(session.client().pages("/producers", limit=200))
    if is_json:
        print_json({"items": items, "next": None})
        return
    rows = [
        (
            item["name"],
            item["topic"],
            ", ".join(item["companies"]),
            "revoked" if item["is_revoked"] else "valid",
        )
        for item in items
    ]
    print_table(("name", "topic", "companies", "state"), rows, empty="No producers.")


@producer.command("revoke")
@click.argument("name")
@as_json
@pass_session
def revoke(session: Session, name: str, is_json: bool) -> None:
    """What this producer sends from now on is dead-lettered."""
    item = session.client().delete(f"/producers/{name}")
    print_json(item) if is_json else click.echo(f"{item['name']} is revoked")


@click.group()
def company() -> None:
    """Companies, the tenants (platform administrators)."""


@company.command("put")
@click.argument("company_id", metavar="ID")
@click.option("--name", help="What people call it; the id if left out.")
@as_json
@pass_session
def put(session: Session, company_id: str, name: str | None, is_json: bool) -> None:
    """Make or rename a company."""
    item = session.client().put(f"/companies/{company_id}", {"name": name or company_id})
    print_json(item) if is_json else click.echo(f"{item['id']}: {item['name']}")
