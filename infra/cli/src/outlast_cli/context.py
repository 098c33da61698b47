"""What every command has: the target (found late, so that `--help` needs none) and how to answer."""

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

import click

from outlast_cli.client import Client
from outlast_cli.failures import Failure
from outlast_cli.output import print_json
from outlast_cli.profiles import Target, find_target
from outlast_local.lifecycle import status

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(slots=True)
class Session:
    """The options given before the command, and the client made of them."""

    url: str | None = None
    key: str | None = None
    company: str | None = None
    profile: str | None = None

    def target(self) -> Target:
        """Whom the command talks to; a Failure says what is missing."""
        return find_target(url=self.url, key=self.key, company=self.company, profile=self.profile)

    def bootstrap(self) -> str:
        """The broker's address: KAFKA_BOOTSTRAP_SERVERS, else the local system's; "" if neither is known."""
        return os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or status().kafka_bootstrap

    def client(self) -> Client:
        """The control plane and the platform as this caller."""
        return Client(self.target())


pass_session = click.make_pass_decorator(Session, ensure=True)


def as_json(command: Callable[P, T]) -> Callable[P, T]:
    """Adds `--json`. With it a failure is a JSON object on stdout too, and its exit status stays."""

    @click.option("--json", "is_json", is_flag=True, help="Print JSON for scripts; its form is stable.")
    @functools.wraps(command)
    def with_json(*arguments: P.args, **options: P.kwargs) -> T:
        try:
            return command(*arguments, **options)
        except Failure as failure:
            if options.get("is_json"):
                print_json(failure.as_json())
            raise

    return with_json
