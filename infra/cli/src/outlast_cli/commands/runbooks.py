"""`outlast runbook`: plan, apply, list, show, export, switch, delete."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import yaml

from outlast_cli import held
from outlast_cli.client import Client
from outlast_cli.context import Session, as_json, pass_session
from outlast_cli.failures import Failure, refuse
from outlast_cli.output import ago, coloured, console, print_json, print_table, printable

SUFFIXES = {".yaml": "yaml", ".yml": "yaml", ".json": "json"}
KINDS = {"yaml": "application/yaml", "json": "application/json"}


@dataclass(frozen=True, slots=True)
class Document:
    """One file that is applied."""

    path: str
    source: str
    source_format: str


@click.group()
def runbook() -> None:
    """Runbooks: what fires when, and what it does."""


@runbook.command("apply")
@click.argument("paths", nargs=-1, required=True, metavar="FILES|DIR...")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.option("--activate/--no-activate", default=None, help="Also switch the runbooks on or off.")
@as_json
@pass_session
def apply(
    session: Session, paths: tuple[str, ...], yes: bool, dry_run: bool, activate: bool | None, is_json: bool
) -> None:
    """Save runbooks from files; first shows what would change."""
    documents = read_documents(paths)
    client = session.client()
    plan = plan_of(client, documents)
    if not is_json:
        show_plan(documents, plan)
    check_plan(documents, plan)
    if dry_run:
        if is_json:
            print_json({"items": plan})
        return
    changes = [item for item in plan if item["change"] != "unchanged" or _switches(item, activate)]
    if changes and not yes and not is_json and not sys.stdin.isatty():
        refuse(
            "nobody is here to be asked; nothing was applied",
            next_step="say --yes, or --dry-run to only look",
        )
    if changes and not yes and not is_json and not click.confirm("Apply this?", default=True, err=True):
        raise Failure("nothing was applied", code="declined")
    saved = [
        save(client, document, item["id"], activate) for document, item in zip(documents, plan, strict=True)
    ]
    if is_json:
        print_json({"items": saved})
    else:
        click.echo(f"{len(changes)} of {len(saved)} runbooks changed.")


@runbook.command("plan")
@click.argument("paths", nargs=-1, required=True, metavar="FILES|DIR...")
@as_json
@pass_session
def plan(session: Session, paths: tuple[str, ...], is_json: bool) -> None:
    """Show what `apply` would change. Exit status 2 if a file would be refused."""
    documents = read_documents(paths)
    items = plan_of(session.client(), documents)
    if is_json:
        print_json({"items": items})
    else:
        show_plan(documents, items)
    check_plan(documents, items)


@runbook.command("list")
@as_json
@pass_session
def list_(session: Session, is_json: bool) -> None:
    """The company's runbooks."""
    items = list(session.client().pages("/runbooks", limit=200))
    if is_json:
        print_json({"items": items, "next": None})
        return
    rows = [
        (
            item["id"], item["name"], f"v{item['version']}", state(item),
            ago(item["saved_at"]), item["author"]["name"],
        )
        for item in items
    ]  # fmt: skip
    print_table(
        ("id", "name", "version", "status", "saved", "by"), rows,
        empty="No runbooks yet. Write one and: outlast runbook apply FILE",
    )  # fmt: skip


@runbook.command("show")
@click.argument("name")
@click.option("--version", type=int, help="A version other than the current one, with its difference.")
@as_json
@pass_session
def show(session: Session, name: str, version: int | None, is_json: bool) -> None:
    """One runbook: its state, its breaker, what holds it back, and its document."""
    client = session.client()
    body = client.get(f"/runbooks/{name}" if version is None else f"/runbooks/{name}/versions/{version}")
    if is_json:
        print_json(body)
        return
    saved = ago(body.get("saved_at") or body["created_at"])
    line = f"{name} v{body['version']} saved {saved} by {body['author']['name']}"
    if "is_active" in body:
        line += f" · {state(body)}"
    click.secho(line, bold=True)
    for word, text in (*held.breaker(body), *held.guardrails(body["document"])):
        click.echo(f"   {click.style(f'{word:<12}', dim=True)} {printable(text)}")
    click.echo(body["source"].rstrip())
    if body.get("diff"):
        click.secho("\nwhat this version changed", bold=True)
        click.echo(body["diff"])


@runbook.command("export")
@click.argument("names", nargs=-1)
@click.option(
    "--to", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write one file a runbook."
)
@pass_session
def export(session: Session, names: tuple[str, ...], folder: Path | None) -> None:
    """The YAML of runbooks (all, or those named), ready to be applied again."""
    client = session.client()
    wanted = list(names) or [item["id"] for item in client.pages("/runbooks", limit=200)]
    for name in wanted:
        text = as_yaml(client.get(f"/runbooks/{name}"))
        if folder is None:
            click.echo(("---\n" if len(wanted) > 1 else "") + text, nl=False)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.yaml").write_text(text)
            click.echo(folder / f"{name}.yaml", err=True)


@runbook.command("activate")
@click.argument("names", nargs=-1, required=True)
@as_json
@pass_session
def activate(session: Session, names: tuple[str, ...], is_json: bool) -> None:
    """Let runbooks fire."""
    _switch(session, names, "activate", is_json)


@runbook.command("deactivate")
@click.argument("names", nargs=-1, required=True)
@as_json
@pass_session
def deactivate(session: Session, names: tuple[str, ...], is_json: bool) -> None:
    """Let runbooks fire no more; what runs goes on."""
    _switch(session, names, "deactivate", is_json)


@runbook.command("delete")
@click.argument("name")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@pass_session
def delete(session: Session, name: str, yes: bool) -> None:
    """Take a runbook out of use; its versions and runs stay on record."""
    if not yes and not click.confirm(f"Delete {name}?", err=True):
        raise Failure("nothing was deleted", code="declined")
    session.client().delete(f"/runbooks/{name}")


def state(item: dict[str, Any]) -> str:
    """active, inactive, or tripped: switched on, but its breaker is open."""
    if item["is_active"]:
        return "active"
    return "tripped" if item.get("is_switched_on") else "inactive"


def _switches(item: dict[str, Any], activate: bool | None) -> bool:
    wanted = item["will_be_active"] if activate is None else activate
    return wanted != item["is_active"]


def _switch(session: Session, names: Sequence[str], verb: str, is_json: bool) -> None:
    client = session.client()
    items = [client.post(f"/runbooks/{name}:{verb}") for name in names]
    if is_json:
        print_json({"items": items})
        return
    for item in items:
        click.echo(f"{item['id']} is {state(item)} (v{item['version']})")
        if state(item) == "tripped":
            click.echo(f"   close its breaker: outlast runbook reset-breaker {item['id']} --reason …")


def read_documents(paths: Iterable[str]) -> list[Document]:
    """The files named, and the YAML and JSON files of folders named."""
    files: list[Path] = []
    for name in paths:
        path = Path(name)
        if path.is_dir():
            inside = sorted(child for child in path.iterdir() if child.suffix in SUFFIXES)
            if not inside:
                refuse(
                    f"{path} holds no runbook", next_step="expected files that end in .yaml, .yml or .json"
                )
            files += inside
        elif path.is_file():
            files.append(path)
        else:
            refuse(f"{path} does not exist", next_step="name a file or a folder of runbooks")
    try:
        return [
            Document(str(path), path.read_text(encoding="utf-8"), SUFFIXES.get(path.suffix, "yaml"))
            for path in files
        ]
    except (OSError, UnicodeDecodeError) as fault:
        refuse(f"cannot read the runbooks: {fault}", next_step="expected UTF-8 text")


def plan_of(client: Client, documents: Sequence[Document]) -> list[dict[str, Any]]:
    """What applying would change, in the order of the documents."""
    wanted = [{"source": each.source, "format": each.source_format} for each in documents]
    return client.post("/runbooks:plan", {"documents": wanted})["items"]


def check_plan(documents: Sequence[Document], items: Sequence[dict[str, Any]]) -> None:
    """Refuse all when one is refused: applying is all or nothing as far as can be seen."""
    faults = [
        (f"{document.path}: {error['path']}" if error["path"] else document.path, error["message"])
        for document, item in zip(documents, items, strict=True)
        for error in item["errors"]
    ]
    if faults:
        raise Failure(
            "some runbooks would be refused; nothing was applied",
            errors=faults, status=2, code="refused", next_step="correct them and apply again",
        )  # fmt: skip
    names = [item["id"] for item in items]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        refuse(f"two files define the same runbook: {', '.join(twice)}", next_step="give each its own name")


def show_plan(documents: Sequence[Document], items: Sequence[dict[str, Any]]) -> None:
    """The plan for people, with differences."""
    out = console()
    for document, item in zip(documents, items, strict=True):
        name = item["id"] if item["change"] != "refused" else document.path
        version = f" (v{item['version']})" if item.get("version") else ""
        if item["change"] != "refused" and item["is_active"] != item["will_be_active"]:
            version += ", will be active" if item["will_be_active"] else ", will be inactive"
        out.print(coloured(item["change"]), f" {name}{version}", sep="")
        for line in item["diff"].splitlines():
            style = "green" if line.startswith("+") else "red" if line.startswith("-") else "dim"
            click.echo("    " + click.style(line, fg=None if style == "dim" else style, dim=style == "dim"))


def save(client: Client, document: Document, name: str, activate: bool | None) -> dict[str, Any]:
    """Save one document."""
    return client.put(
        f"/runbooks/{name}",
        content=document.source.encode(),
        kind=KINDS[document.source_format],
        activate=activate,
    )


def as_yaml(body: dict[str, Any]) -> str:
    """The source if it was YAML (comments and order kept), else what it says as YAML."""
    if body["source_format"] == "yaml":
        return body["source"].rstrip() + "\n"
    return yaml.safe_dump(json.loads(body["source"]), sort_keys=False, allow_unicode=True, width=100)
