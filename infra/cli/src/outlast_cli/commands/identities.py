"""`outlast identity`: who may call, by API key."""

import click

from outlast_cli.context import Session, as_json, pass_session
from outlast_cli.output import ago, print_json, print_table

ROLES = ("remediation_owner", "soc_analyst", "security_engineer", "platform_administrator", "service")


@click.group()
def identity() -> None:
    """Identities and their API keys."""


@identity.command("create")
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), default="soc_analyst", show_default=True)
@click.option(
    "--scope", "scopes", multiple=True, help="For services: publish_events, read_runs, source:PREFIX."
)
@as_json
@pass_session
def create(session: Session, name: str, role: str, scopes: tuple[str, ...], is_json: bool) -> None:
    """Make an identity and show its key, once."""
    made = session.client().post("/identities", {"name": name, "role": role, "scopes": list(scopes)})
    if is_json:
        print_json(made)
        return
    click.echo(f"{made['id']} {made['name']} ({made['role']}, company {made['company'] or 'all'})", err=True)
    click.echo("its key, shown this once:", err=True)
    click.echo(made["key"])


@identity.command("list")
@as_json
@pass_session
def list_(session: Session, is_json: bool) -> None:
    """Identities; never their keys."""
    items = list(session.client().pages("/identities", limit=200))
    if is_json:
        print_json({"items": items, "next": None})
        return
    rows = [
        (
            item["id"], item["name"], item["role"], item["company"] or "all", " ".join(item["scopes"]),
            "revoked" if item["is_revoked"] else "valid", ago(item["created_at"]),
        )
        for item in items
    ]  # fmt: skip
    print_table(("id", "name", "role", "company", "scopes", "key", "made"), rows, empty="No identities.")


@identity.command("revoke")
@click.argument("identity_id", metavar="ID")
@as_json
@pass_session
def revoke(session: Session, identity_id: str, is_json: bool) -> None:
    """Make a key worthless, for good."""
    item = session.client().delete(f"/identities/{identity_id}")
    print_json(item) if is_json else click.echo(f"{item['id']} {item['name']} is revoked")
