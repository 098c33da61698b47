"""`outlast up`, `down`, `status`, `doctor`: the local system."""

import time

import click

from outlast_cli import sample
from outlast_cli.commands.runs import print_runs
from outlast_cli.context import as_json
from outlast_cli.diagnosis import diagnose
from outlast_cli.failures import Failure
from outlast_cli.output import print_json, print_table
from outlast_cli.profiles import Profiles, profiles_file
from outlast_local.layout import RunFolder
from outlast_local.lifecycle import Running, Step, UpFailedError
from outlast_local.lifecycle import down as stop_system
from outlast_local.lifecycle import status as system_status
from outlast_local.lifecycle import up as start_system
from outlast_local.state import Phase

SHOWN_RUNS_MAX = 15


@click.command("up")
@click.option("--sample", "with_sample", is_flag=True, help="Also sample companies, runbooks and reports.")
def up(with_sample: bool) -> None:
    """Bring everything up (Kafka, Postgres, every service) or find what runs; returns and leaves it running."""
    began = time.monotonic()

    def tell(sentence: str) -> None:
        click.echo(f"{time.monotonic() - began:6.1f} s  {sentence}", err=True)

    folder = RunFolder.current()
    receiver = sample.choose_receiver(folder) if with_sample else ""
    if receiver:
        sample.allow_receiver(receiver)
        sample.use_mail_receiver(receiver)
    running = _start(folder, tell)
    tell("it was running already" if running.was_running else "everything is ready")
    if with_sample:
        _show_sample(folder, running, receiver, tell)
    _say_where(running, folder)


def _start(folder: RunFolder, tell: sample.Tell) -> Running:
    def show(step: Step) -> None:
        tell(f"{step.name:16} {step.condition} {step.note}".rstrip())

    try:
        return start_system(show, run_dir=folder.root)
    except UpFailedError as fault:
        raise Failure(str(fault), next_step=f"look into {folder.logs}; then: outlast doctor") from fault


def _show_sample(folder: RunFolder, running: Running, receiver: str, tell: sample.Tell) -> None:
    samples = sample.samples_folder()
    sample.ensure_receiver(folder, receiver)
    profiles: Profiles = sample.ensure_companies(folder, running)
    tell(
        f"companies {', '.join(name for name, _ in sample.COMPANIES)}; their keys are in {profiles_file(folder)}"
    )
    client = sample.client_of(running, profiles.items[profiles.default])
    sample.ensure_asset(client)
    count = sample.apply_runbooks(client, samples, receiver, tell)
    tell(f"{count} runbooks of {profiles.default} are active")
    sample.await_matcher(running, count)
    known = len(sample.newest_runs(client))
    changes = sample.import_reports(client, samples, tell)
    runs, is_complete = sample.await_runs(client, changes > 0 and known == 0, known, tell)
    click.echo()
    waiting_first = sorted(runs, key=lambda run: run["status"] != "waiting")
    print_runs(waiting_first[:SHOWN_RUNS_MAX])
    if len(runs) > SHOWN_RUNS_MAX:
        click.echo(f"… {len(runs) - SHOWN_RUNS_MAX} more: outlast run list", err=True)
    if not is_complete:
        raise Failure(
            f"not every run was finished within {sample.RUNS_TIMEOUT_SECONDS:.0f} s",
            next_step=f"look into {folder.logs}; what cannot be taken is in: outlast dlq list",
        )
    click.echo(
        f"""
what happened in one of them:  .venv/bin/outlast run show {runs[0]["id"]}
what the receiver got:         {sample.receiver_log(folder)}"""
    )
    for hint in sample.signal_hints(runs):
        click.echo(f"what a run waits for:          .venv/bin/{hint}")


def _say_where(running: Running, folder: RunFolder) -> None:
    lines = [f"{name.replace('_', ' '):<31}{url}" for name, url in running.urls.items()]
    lines += [f"{'logs':<31}{folder.logs}", f"{'stop it':<31}make stop"]
    click.echo("\n".join(lines))


@click.command("down")
def down() -> None:
    """Stop everything; the data stays."""
    folder = RunFolder.current()
    began = time.monotonic()
    was_running = stop_system(run_dir=folder.root)
    click.echo(f"stopped in {time.monotonic() - began:.1f} s" if was_running else "nothing ran")


@click.command("status")
@as_json
def status(is_json: bool) -> None:
    """What runs. Exit status 1 unless everything is ready."""
    folder = RunFolder.current()
    state = system_status(run_dir=folder.root)
    if is_json:
        items = [
            {
                "name": process.name, "condition": process.condition.value, "pid": process.pid,
                "restarts": process.restarts, "note": process.note, "log": process.log, "links": process.links,
            }
            for process in state.processes.values()
        ]  # fmt: skip
        print_json(
            {"phase": state.phase.value, "problem": state.problem, "urls": state.urls, "processes": items}
        )
    else:
        rows = [
            (
                process.name, process.condition.value, process.pid, process.restarts,
                process.links.get("api") or process.links.get("bootstrap") or process.links.get("health", ""),
                process.note,
            )
            for process in state.processes.values()
        ]  # fmt: skip
        click.echo(
            f"{state.phase.value}{f': {state.problem}' if state.problem else ''} ({folder.root})", err=True
        )
        print_table(
            ("name", "status", "pid", "restarts", "where", "note"), rows, empty="Nothing runs: outlast up"
        )
    if state.phase is not Phase.READY:
        raise click.exceptions.Exit(1)


@click.command("doctor")
@as_json
def doctor(is_json: bool) -> None:
    """Check what the system needs and whether it answers; says what to do about each fault."""
    findings = diagnose()
    if is_json:
        print_json(
            {
                "items": [
                    {"check": f.check, "ok": f.is_fine, "found": f.found, "advice": f.advice}
                    for f in findings
                ]
            }
        )
    else:
        for finding in findings:
            mark = click.style("✓", fg="green") if finding.is_fine else click.style("✗", fg="red")
            click.echo(f"{mark} {finding.check:<24} {finding.found}")
            if not finding.is_fine and finding.advice:
                click.echo(f"  {'':<24} {finding.advice}")
    if not all(finding.is_fine for finding in findings):
        raise click.exceptions.Exit(1)


@click.command("completions")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completions(shell: str) -> None:
    """Print what a shell needs to complete `outlast`: eval "$(outlast completions bash)"."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise Failure(f"there is no completion for {shell}", status=2)
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "outlast", "_OUTLAST_COMPLETE").source())
