"""The `outlast` command: its groups, its common options, the last line of defence."""

import sys

import click

from outlast_cli.commands.breakers import reset_breaker, run_suppressed
from outlast_cli.commands.cron import cron
from outlast_cli.commands.dead_letters import dead_letters
from outlast_cli.commands.events import events
from outlast_cli.commands.identities import identity
from outlast_cli.commands.imports import import_command
from outlast_cli.commands.local import event, event_match, rule, template
from outlast_cli.commands.producers import company, producer
from outlast_cli.commands.runbooks import runbook
from outlast_cli.commands.runs import run
from outlast_cli.commands.signals import signal
from outlast_cli.commands.system import completions, doctor, down, up
from outlast_cli.commands.system import status as status_command
from outlast_cli.commands.tail import tail
from outlast_cli.commands.trigger import trigger
from outlast_cli.commands.watch import watch
from outlast_cli.context import Session

INTERRUPTED = 130
"""The exit status of what Ctrl-C ended, as shells have it."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--url", metavar="URL", help="Address of the control plane (OUTLAST_API_URL).")
@click.option("--key", metavar="KEY", help="API key (OUTLAST_API_KEY); better given by the environment.")
@click.option("--company", metavar="ID", help="Company to act for (OUTLAST_COMPANY).")
@click.option("--profile", metavar="NAME", help="A key of the local system: admin, acme, globex.")
@click.version_option(package_name="outlast-cli", prog_name="outlast")
@click.pass_context
def outlast(
    context: click.Context, url: str | None, key: str | None, company: str | None, profile: str | None
) -> None:
    """Event-triggered runbooks for vulnerability management.

    \b
    Start here:
      outlast up --sample        everything, with sample findings and runbooks
      outlast run list           what ran
      outlast run show ID        what happened in each step, and why
    """
    context.obj = Session(url=url, key=key, company=company, profile=profile)


for command in (
    up,
    down,
    status_command,
    doctor,
    completions,
    import_command,
    runbook,
    trigger,
    run,
    signal,
    events,
    event,
    rule,
    template,
    cron,
    dead_letters,
    identity,
):
    outlast.add_command(command)
runbook.add_command(reset_breaker)
runbook.add_command(run_suppressed)
run.add_command(watch)
events.add_command(tail)
events.add_command(event_match)
outlast.add_command(producer)
outlast.add_command(company)


def main() -> None:
    """Run one command; the exit status says how it went."""
    try:
        status = outlast(prog_name="outlast", standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.ClickException as fault:
        fault.show()
        sys.exit(fault.exit_code)
    except click.Abort as ended:
        is_interrupted = isinstance(ended.__cause__, KeyboardInterrupt)
        if not is_interrupted:
            click.echo("Aborted!", err=True)
        sys.exit(INTERRUPTED if is_interrupted else 1)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has had enough, as `head` does
        sys.exit(0)
