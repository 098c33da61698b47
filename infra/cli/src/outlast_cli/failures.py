"""What ends a command early: said on stderr, with what to do next, and an exit status.

0 done · 1 it did not work (something is away, a run failed) · 2 refused (wrong use, wrong content).
"""

from collections.abc import Sequence
from typing import NoReturn

import click


class Failure(click.ClickException):
    """Ends the command. `next_step` is a sentence that says what to do about it."""

    def __init__(
        self,
        message: str,
        *,
        next_step: str = "",
        status: int = 1,
        errors: Sequence[tuple[str, str]] = (),
        code: str = "failed",
    ) -> None:
        super().__init__(message)
        self.next_step = next_step
        self.exit_code = status
        self.errors = tuple(errors)
        self.code = code

    def show(self, file: object = None) -> None:
        """On stderr, whatever the output is."""
        del file
        click.echo(click.style("error: ", fg="red", bold=True) + self.message, err=True)
        for path, text in self.errors:
            if text != self.message:
                click.echo(f"  {path}: {text}" if path else f"  {text}", err=True)
            elif path:
                click.echo(f"  at {path}", err=True)
        if self.next_step:
            click.echo(f"  {self.next_step}", err=True)

    def as_json(self) -> dict[str, object]:
        """The same for scripts. `path` is where the first fault is; empty where that is nowhere in particular."""
        path = self.errors[0][0] if self.errors else ""
        body: dict[str, object] = {"code": self.code, "path": path, "message": self.message}
        if self.errors:
            body["errors"] = [{"path": path, "message": text} for path, text in self.errors]
        if self.next_step:
            body["next_step"] = self.next_step
        return {"error": body}


def refuse(message: str, *, next_step: str = "") -> NoReturn:
    """Wrong use or wrong content: status 2."""
    raise Failure(message, next_step=next_step, status=2, code="refused")
