"""`outlast rule eval`, `template render`, `event match`: what the language means, without a server."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import click

from outlast_cli.batch import members_of, run_batch
from outlast_cli.commands.runbooks import read_documents
from outlast_cli.context import as_json
from outlast_cli.failures import refuse
from outlast_cli.local import events, rules, templates
from outlast_cli.local.inputs import read_object, read_text, read_value
from outlast_cli.output import pretty, print_json, printable

P = ParamSpec("P")
T = TypeVar("T")


def _local(command: Callable[P, T]) -> Callable[P, T]:
    """Adds `--now`, `--batch` and `--json`."""

    @click.option(
        "--now", metavar="INSTANT", help="The frozen now; the time of the payload's event if not given."
    )
    @click.option(
        "--batch", "is_batch", is_flag=True,
        help="Read JSON lines from standard input, print one result a line; status 1 if any failed.",
    )  # fmt: skip
    @as_json
    @functools.wraps(command)
    def with_options(*arguments: P.args, **options: P.kwargs) -> T:
        return command(*arguments, **options)

    return with_options


def _both(first: str | None, second: str | None, usage: str) -> tuple[str, str]:
    if first is None or second is None:
        refuse(f"expected {usage}", next_step="or --batch, with JSON lines on standard input")
    if first == second == "-":
        refuse("standard input can be read once only", next_step="name one of them as @FILE")
    return first, second


def _alone(*given: object) -> None:
    if any(each is not None for each in given):
        refuse("with --batch these come with each line", next_step="see --help")


@click.group()
def rule() -> None:
    """Trigger rules: try a condition, no server needed."""


@rule.command("eval")
@click.argument("condition", required=False, metavar="[CONDITION]")
@click.argument("payload", required=False, metavar="[PAYLOAD]")
@_local
def rule_eval(
    condition: str | None, payload: str | None, now: str | None, is_batch: bool, is_json: bool
) -> None:
    """Evaluate a condition tree over a payload: the result, and why each leaf is true or false.

    CONDITION and PAYLOAD are JSON or YAML, @FILE, or - for standard input. PAYLOAD is what conditions read: an object
    with event, finding, asset, company, as `outlast run show ID --json` has it under payload.

    \b
    outlast rule eval '{field: finding.severity, op: gte, value: high}' '{"finding": {"severity": "critical"}}'
    outlast rule eval @condition.yaml @payload.json --now 2026-03-14T09:26:53Z
    echo '{"condition": {"field": "a", "op": "eq", "value": 1}, "payload": {"a": 1}}' | outlast rule eval --batch
    outlast rule eval @condition.yaml --batch < payloads.jsonl       lines of {"payload": {...}}

    \b
    --json and each line of --batch:
      {"result": true, "now": "...",
       "leaves": [{"path", "field", "op", "value", "result", "found"?, "is_missing", "why"}]}
    A line is {"payload", "condition"?, "now"?, "id"?}; its id comes back. What cannot be judged is {"error": {...}}.

    Exit status: 0 judged, whatever the result; 2 refused; with --batch 1 if any line failed.
    """
    if is_batch:
        _alone(payload)
        fixed = None if condition is None else rules.condition_of(read_value(condition, "the condition"))

        def judge(line: dict[str, Any]) -> dict[str, Any]:
            members_of(line, ("payload", "now") if fixed else ("condition", "payload", "now"))
            asked = fixed or rules.condition_of(line.get("condition"))
            return rules.evaluate(asked, line.get("payload"), line.get("now", now))

        return run_batch(judge)
    tree, looked = _both(condition, payload, "a condition and a payload")
    asked = rules.condition_of(read_value(tree, "the condition"))
    answer = rules.evaluate(asked, read_object(looked, "the payload"), now)
    if is_json:
        return print_json(answer)
    click.secho(str(answer["result"]).lower(), bold=True)
    _leaves(answer["leaves"])
    return None


@click.group()
def template() -> None:
    """Templates: try one, no server needed."""


@template.command("render")
@click.argument("text", required=False, metavar="[TEMPLATE]")
@click.argument("payload", required=False, metavar="[PAYLOAD]")
@click.option(
    "--config", "is_config", is_flag=True, help="TEMPLATE is JSON or YAML, like an action's config."
)
@_local
def template_render(
    text: str | None, payload: str | None, is_config: bool, now: str | None, is_batch: bool, is_json: bool
) -> None:
    """Render a template over a payload: the value with its type, or the error with its path.

    TEMPLATE is text with {{ placeholders }}, @FILE, or -; with --config a whole value with texts in it. A template
    that is one placeholder and nothing beside it keeps the value's type.

    \b
    outlast template render '{{ finding.title | upper }}' '{"finding": {"title": "SQL injection"}}'
    outlast template render '{{ steps.scan.output.count + 1 }}' @payload.json --json
    outlast template render --config @config.yaml @payload.json
    echo '{"template": "{{ a }}", "payload": {"a": [1]}}' | outlast template render --batch

    \b
    --json and each line of --batch:  {"value": ..., "type": "text|number|boolean|null|list|object", "now": "..."}
    A line is {"template", "payload", "now"?, "id"?}; a template that is no text is a config. What has no value is
    {"error": {"code": "template_failed", "message", "errors": [{"path", "message"}]}}, what may not be saved "refused".

    Exit status: 0 rendered; 1 no value for this payload; 2 refused; with --batch 1 if any line failed.
    """
    if is_batch:
        _alone(text, payload)
        return run_batch(functools.partial(_render_line, now))
    source, looked = _both(text, payload, "a template and a payload")
    if is_config:
        made = templates.template_of(read_value(source, "the template"))
    else:
        read = read_text(source, "the template")
        made = templates.template_of(read.removesuffix("\n") if source[:1] in {"@", "-"} else read)
    answer = templates.render(made, read_object(looked, "the payload"), now)
    if is_json:
        return print_json(answer)
    click.echo(printable(answer["value"]) if answer["type"] == "text" else pretty(answer["value"]))
    click.echo(f"({answer['type']})", err=True)
    return None


def _render_line(now: str | None, line: dict[str, Any]) -> dict[str, Any]:
    members_of(line, ("template", "payload", "now"))
    if "template" not in line:
        refuse("expected a template")
    return templates.render(
        templates.template_of(line["template"]), line.get("payload"), line.get("now", now)
    )


@click.group()
def event() -> None:
    """Events: which runbooks one would fire, no server needed."""


@event.command("match")
@click.argument("paths", nargs=-1, required=True, metavar="FILES|DIR...")
@click.option("--event", "given", metavar="JSON|@FILE|-", help="The event, or the enriched payload.")
@click.option("--finding", metavar="JSON|@FILE", help="Beside a CloudEvent: the finding that it names.")
@click.option("--asset", metavar="JSON|@FILE", help="Beside a CloudEvent: the asset that it names.")
@click.option("--explain", is_flag=True, help="Also every rule of the event's type, with each leaf.")
@_local
def event_match(
    paths: tuple[str, ...],
    given: str | None,
    finding: str | None,
    asset: str | None,
    explain: bool,
    now: str | None,
    is_batch: bool,
    is_json: bool,
) -> None:
    """Say which of these runbooks an event fires, and by which of their rules. Whether they are active is not asked.

    An event is a CloudEvent; {"event": CloudEvent, "finding": {...}, "asset": {...}} with what a look-up would lay
    in; or an enriched payload, as `outlast run show ID --json` has it under payload.

    \b
    outlast event match samples/runbooks --event @event.json --finding @finding.json
    outlast run show ID --json | jq .payload | outlast event match page.yaml --event - --explain
    outlast event match samples/runbooks --batch < events.jsonl

    \b
    --json and each line of --batch:
      {"event": {"type", "id", "source", "subject"}, "now": "...", "fires": ["page-on-call"],
       "matches": [{"runbook", "name", "file", "rules": [0, 2]}]}
    A line is an event in one of the three forms. One that cannot be read is {"error": {...}}.

    Exit status: 0 judged, also where nothing fires; 2 refused; with --batch 1 if any line failed.
    """
    candidates = events.read_runbooks(read_documents(paths))
    if is_batch:
        _alone(given, finding, asset)
        return run_batch(lambda line: _match_line(candidates, now, line, explain=explain))
    if given is None:
        refuse("expected --event", next_step="or --batch, with JSON lines on standard input")
    asked = read_object(given, "the event")
    parts = {
        name: read_object(part, f"the {name}")
        for name, part in (("finding", finding), ("asset", asset))
        if part is not None
    }
    if parts:
        if "specversion" not in asked:
            refuse("--finding and --asset are for a CloudEvent", next_step="a payload has them in it")
        asked = {"event": asked, **parts}
    answer = events.match(candidates, asked, now, explain=explain)
    if is_json:
        return print_json(answer)
    for each in answer["matches"]:
        numbers = ", ".join(f"rules[{index}]" for index in each["rules"])
        click.echo(f"{each['runbook']} by {numbers}  ({each['file']})")
    if not answer["matches"]:
        click.echo("nothing fires")
    for each in answer.get("rules", ()):
        click.secho(f"\n{each['runbook']} rules[{each['rule']}]: {str(each['result']).lower()}", bold=True)
        _leaves(each["leaves"])
    return None


def _match_line(
    candidates: list[events.Candidate], now: str | None, line: dict[str, Any], *, explain: bool
) -> dict[str, Any]:
    is_payload = "specversion" not in line
    own = line.get("now", now) if is_payload else now
    return events.match(candidates, line, own, explain=explain)


def _leaves(leaves: list[dict[str, Any]]) -> None:
    for leaf in leaves:
        mark = click.style("✓", fg="green") if leaf["result"] else click.style("✗", fg="red")
        folds = f"{leaf['op']} {pretty(leaf['value'])}"
        path = f"{leaf['path']}: " if leaf["path"] else ""
        click.echo(f"  {mark} {path}{printable(folds)}")
        click.echo(f"      {printable(leaf['why'])}")
