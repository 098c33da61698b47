"""`python -m outlast_local up | down | status`: the system without the product's own command."""

import argparse
import json
import sys
from dataclasses import asdict

from outlast_local.lifecycle import Step, UpFailedError, down, status, up
from outlast_local.state import Phase
from outlast_local.system import run_folder, supervise


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    parser = argparse.ArgumentParser(
        prog="outlast_local", description="Kafka, Postgres and every service, locally"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("up", "supervise", "down", "status"):
        command = commands.add_parser(name)
        command.add_argument(
            "--run-dir", help="where data, logs and state lie; default OUTLAST_RUN_DIR or .outlast"
        )
        if name in ("up", "supervise"):
            command.add_argument(
                "--servers-only", action="store_true", help="Kafka and Postgres without the services"
            )
            command.add_argument("--owner-pid", type=int, help="stop when this process is gone")
        if name in ("up", "status"):
            command.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    match options.command:
        case "supervise":
            return supervise(
                run_folder(options.run_dir), servers_only=options.servers_only, owner_pid=options.owner_pid
            )
        case "up":
            return _up(options)
        case "down":
            print("stopped" if down(run_dir=options.run_dir) else "nothing ran")
            return 0
        case _:
            return _status(options)


def _up(options: argparse.Namespace) -> int:
    def show(step: Step) -> None:
        print(
            f"{step.seconds:6.1f} s  {step.name:16} {step.condition} {step.note}".rstrip(),
            file=sys.stderr,
            flush=True,
        )

    try:
        running = up(
            show, servers_only=options.servers_only, run_dir=options.run_dir, owner_pid=options.owner_pid
        )
    except UpFailedError as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        content = {"kafka_bootstrap": running.kafka_bootstrap, "postgres_dsn": running.postgres_dsn}
        print(json.dumps(content | {"urls": running.urls, "logs": str(running.logs)}))
        return 0
    print(f"kafka     {running.kafka_bootstrap}")
    print(f"postgres  {running.postgres_dsn}")
    for name, url in running.urls.items():
        print(f"{name:9} {url}")
    print(f"logs      {running.logs}")
    return 0


def _status(options: argparse.Namespace) -> int:
    state = status(run_dir=options.run_dir)
    if options.json:
        print(json.dumps(asdict(state)))
    else:
        print(f"{state.phase.value}{f': {state.problem}' if state.problem else ''}")
        for process in state.processes.values():
            print(
                f"{process.name:16} {process.condition.value:10} pid {process.pid}"
                f" restarts {process.restarts}"
            )
    return 0 if state.phase is Phase.READY else 3


if __name__ == "__main__":
    sys.exit(main())
