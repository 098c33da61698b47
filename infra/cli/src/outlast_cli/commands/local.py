"""`outlast rule eval`, `template render`, `event match`: what the language means, without a server."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from outlast_cli.batch import members_of, run_batch, takes_batch
from outlast_cli.commands.runbooks import read_documents
from outlast_cli.context import as_json
from outlast_cli.failures import refuse
from outlast_cli.local import events, rules, templates
from outlast_cli.local.inputs import read_object, read_text, read_value
from outlast_cli.output import pretty, print_json, printable
from outlast_cli.sample import samples_folder

P = ParamSpec("P")
T = TypeVar("T")
RUNBOOKS = Path("runbooks")
"""Where a team keeps them: the folder of `event match` if none is named."""


def _local(command: Callable[P, T]) -> Callable[P, T]:
    """Adds `--now`, `--batch` and `--json`."""

    @click.option(
        "--now", metavar="INSTANT", help="The frozen now; the time of the payload's event if not given."
    )
    @takes_batch
    @as_json
    @functools.wraps(command)
    def with_options(*arguments: P.args, **options: P.kwargs) -> T:
        return command(*arguments, **options)

    return with_options


def _required(usage: str, *given: str | None) -> tuple[str, ...]:
    found = tuple(each for each in given if each is not None)
    if len(found) < len(given):
        refuse(f"expected {usage}", next_step="or --batch FILE.jsonl")
    if found.count("-") > 1:
        refuse("standard input can be read once only", next_step="name one of them as a file")
    return found


def _alone(*given: object) -> None:
    if any(each is not None for each in given):
        refuse("with --batch these come with each line", next_step="see --help")


@click.group()
def rule() -> None:
    """Trigger rules: try a condition, no server needed."""


@rule.command("eval")
@click.option(
    "--conditions", metavar="C.json", help="The condition tree: a file, - or the JSON or YAML itself."
)
@click.option("--payload", metavar="P.json", help="What it reads: a file, - or the JSON or YAML itself.")
@_local
def rule_eval(
    conditions: str | None,
    payload: str | None,
    now: str | None,
    batch: str | None,
    is_json: bool,
) -> None:
    """Evaluate a condition tree over a payload: whether it holds, and why each leaf is true or false.

    The payload is what conditions read: an object with event, finding, asset, company, as `outlast run show ID --json`
    has it under payload.

    \b
    outlast rule eval --conditions condition.yaml --payload payload.json --now 2026-03-14T09:26:53Z
    outlast rule eval --conditions '{field: a, op: eq, value: 1}' --payload '{"a": 1}'
    echo '{"conditions": {"field": "a", "op": "eq", "value": 1}, "payload": {"a": 1}}' | outlast rule eval --batch -
    outlast rule eval --conditions condition.yaml --batch payloads.jsonl       lines of {"payload": {...}}

    \b
    --json and each line of --batch:
      {"matched": true, "now": "...",
       "leaves": [{"path", "field", "op", "value", "result", "found"?, "is_missing", "why"}]}
    A line is {"conditions", "payload", "now"?, "id"?}; its id comes back. What is refused is
    {"error": {"path", "message", ...}}.

    Exit status: 0 true; 1 false; 2 refused. With --batch 0 if every line was answered, if with an error.
    """
    if batch is not None:
        _alone(payload)
        fixed = None if conditions is None else rules.condition_of(read_value(conditions, "the conditions"))

        def judge(line: dict[str, Any]) -> dict[str, Any]:
            members_of(line, ("payload", "now") if fixed else ("conditions", "payload", "now"))
            asked = fixed or rules.condition_of(line.get("conditions"))
            return rules.evaluate(asked, line.get("payload"), line.get("now", now))

        return run_batch(judge, batch)
    tree, looked = _required("--conditions and --payload", conditions, payload)
    asked = rules.condition_of(read_value(tree, "the conditions"))
    answer = rules.evaluate(asked, read_object(looked, "the payload"), now)
    if is_json:
        print_json(answer)
    else:
        click.secho(str(answer["matched"]).lower(), bold=True)
        _leaves(answer["leaves"])
    if not answer["matched"]:
        raise click.exceptions.Exit(1)
    return None


@click.group()
def template() -> None:
    """Templates: try one, no server needed."""


@template.command("render")
@click.argument("text", required=False, metavar="[TEMPLATE]")
@click.option("--payload", metavar="P.json", help="What it reads: a file, - or the JSON or YAML itself.")
@click.option(
    "--config", "is_config", is_flag=True, help="TEMPLATE is JSON or YAML, like an action's config."
)
@_local
def template_render(
    text: str | None, payload: str | None, is_config: bool, now: str | None, batch: str | None, is_json: bool
) -> None:
    """Render a template over a payload: the value, or the error with its path.

    TEMPLATE is text with {{ placeholders }}, @FILE, or -; with --config a whole value with texts in it. A template
    that is one placeholder and nothing beside it keeps the value's type.

    \b
    outlast template render '{{ finding.title | upper }}' --payload '{"finding": {"title": "SQL injection"}}'
    outlast template render '{{ steps.scan.output.count + 1 }}' --payload payload.json --json
    outlast template render --config config.yaml --payload payload.json
    echo '{"template": "{{ a }}", "payload": {"a": [1]}}' | outlast template render --batch -

    \b
    --json and each line of --batch:  {"value": ...}
    A line is {"template", "payload", "now"?, "id"?}; a template that is no text is a config. What is refused is
    {"error": {"path", "message", "code", ...}}; code is template_failed for what has no value over this payload.

    Exit status: 0 rendered; 2 refused. With --batch 0 if every line was answered, if with an error.
    """
    if batch is not None:
        _alone(text, payload)
        return run_batch(functools.partial(_render_line, now), batch)
    source, looked = _required("a template and --payload", text, payload)
    if is_config:
        made = templates.template_of(read_value(source, "the template"))
    else:
        read = read_text(source, "the template")
        made = templates.template_of(read.removesuffix("\n") if source[:1] in {"@", "-"} else read)
    value = templates.render(made, read_object(looked, "the payload"), now)
    if is_json:
        return print_json({"value": value})
    click.echo(printable(value) if isinstance(value, str) else pretty(value))
    return None


def _render_line(now: str | None, line: dict[str, Any]) -> dict[str, Any]:
    members_of(line, ("template", "payload", "now"))
    if "template" not in line:
        refuse("expected a template")
    made = templates.template_of(line["template"])
    return {"value": templates.render(made, line.get("payload"), line.get("now", now))}


@click.group()
def event() -> None:
    """Events: which runbooks one would fire, no server needed."""


@event.command("match")
@click.argument("given", required=False, metavar="[E.json]")
@click.option(
    "--runbooks", "paths", multiple=True, metavar="DIR|FILE",
    help="Runbooks, may be given several times; ./runbooks if not given, else the samples of the clone.",
)  # fmt: skip
@click.option("--finding", metavar="F.json", help="Beside a CloudEvent: the finding that it names.")
@click.option("--asset", metavar="A.json", help="Beside a CloudEvent: the asset that it names.")
@_local
def event_match(
    given: str | None,
    paths: tuple[str, ...],
    finding: str | None,
    asset: str | None,
    now: str | None,
    batch: str | None,
    is_json: bool,
) -> None:
    """Say which runbooks an event fires, by which of their rules, and why or why not. Whether they are active, and what
    their guardrails say, is not asked.

    An event is a CloudEvent; {"event": CloudEvent, "finding": {...}, "asset": {...}} with what a look-up would lay
    in; or an enriched payload, as `outlast run show ID --json` has it under payload. It comes from a file, from
    standard input for -, or is the JSON or YAML itself.

    \b
    outlast event match event.json --runbooks samples/runbooks --finding finding.json
    outlast run show ID --json | jq .payload | outlast event match - --runbooks page.yaml
    outlast event match --batch events.jsonl --runbooks samples/runbooks

    \b
    --json and each line of --batch:
      {"event": {"type", "id", "source", "subject"}, "now": "...", "fires": ["page-on-call"],
       "matches": [{"runbook", "name", "file", "rules": [0, 2]}],
       "rules": [{"runbook", "rule", "matched", "leaves": as of rule eval}]}
    A line is an event in one of the three forms. One that cannot be read is {"error": {"path", "message", ...}}.

    Exit status: 0 judged, also where nothing fires; 2 refused. With --batch 0 if every line was answered, if with an
    error.
    """
    if batch is None and given is None:
        refuse("expected an event", next_step="a file with it, or --batch FILE.jsonl")
    candidates = events.read_runbooks(read_documents(paths or (_default_folder(),)))
    if batch is not None:
        _alone(given, finding, asset)
        return run_batch(functools.partial(_match_line, candidates, now), batch)
    asked = read_object(given or "", "the event")
    parts = {
        name: read_object(part, f"the {name}")
        for name, part in (("finding", finding), ("asset", asset))
        if part is not None
    }
    if parts:
        if "specversion" not in asked:
            refuse("--finding and --asset are for a CloudEvent", next_step="a payload has them in it")
        asked = {"event": asked, **parts}
    answer = events.match(candidates, asked, now)
    if is_json:
        return print_json(answer)
    _show_matches(candidates, answer)
    return None


def _default_folder() -> str:
    return str(RUNBOOKS if RUNBOOKS.is_dir() else samples_folder() / "runbooks")


def _match_line(candidates: list[events.Candidate], now: str | None, line: dict[str, Any]) -> dict[str, Any]:
    is_payload = "specversion" not in line
    return events.match(candidates, line, line.get("now", now) if is_payload else now)


def _show_matches(candidates: Sequence[events.Candidate], answer: dict[str, Any]) -> None:
    """First what fires, then what does not."""
    for each in answer["matches"]:
        numbers = ", ".join(f"rules[{index}]" for index in each["rules"])
        click.secho(f"{each['runbook']} by {numbers}  ({each['file']})", bold=True)
        _rules(answer, each["runbook"])
    if not answer["matches"]:
        click.secho("nothing fires", bold=True)
    for candidate in candidates:
        if candidate.id not in answer["fires"]:
            click.echo(f"not {candidate.id}  ({candidate.path})")
            if not _rules(answer, candidate.id):
                click.echo(f"  no rule of it is for {printable(str(answer['event']['type']))}")


def _rules(answer: dict[str, Any], runbook: str) -> bool:
    told = [each for each in answer["rules"] if each["runbook"] == runbook]
    for each in told:
        click.echo(f"  rules[{each['rule']}]: {str(each['matched']).lower()}")
        _leaves(each["leaves"], "    ")
    return bool(told)


def _leaves(leaves: list[dict[str, Any]], margin: str = "  ") -> None:
    for leaf in leaves:
        mark = click.style("✓", fg="green") if leaf["result"] else click.style("✗", fg="red")
        folds = f"{leaf['op']} {pretty(leaf['value'])}"
        path = f"{leaf['path']}: " if leaf["path"] else ""
        click.echo(f"{margin}{mark} {path}{printable(folds)}")
        click.echo(f"{margin}    {printable(leaf['why'])}")
