"""Settings from the environment, validated before anything starts: a wrong or unknown value is refused by name."""

import os
from collections.abc import Mapping
from typing import NoReturn

SHARED_NAMES = frozenset(
    {
        "OUTLAST_HEALTH_PORT",
        "OUTLAST_HEALTH_HOST",
        "OUTLAST_HTTP_PORT",
        "OUTLAST_HTTP_HOST",
        "OUTLAST_INSTANCE",
        "OUTLAST_LOG_LEVEL",
        "OUTLAST_SERVICE_TOKEN",
        "OUTLAST_EGRESS_ALLOW",
        "OUTLAST_ADMIN_KEY",
        "OUTLAST_API_URL",
        "OUTLAST_API_KEY",
        "OUTLAST_COMPANY",
        "OUTLAST_RUN_DIR",
        "OUTLAST_HOME",
        "OUTLAST_PORT_BASE",
    }
)
"""Names that any process of the system may find in its environment, whether it reads them or not."""


class SettingsError(SystemExit):
    """Ends the process with one line that names the setting, what was expected and what was found."""


class Environment:
    """Reads one service's settings and remembers which names it knows."""

    def __init__(self, service: str, variables: Mapping[str, str] | None = None) -> None:
        self._service = service
        self._prefix = f"OUTLAST_{service.upper()}_"
        self._variables = os.environ if variables is None else variables
        self._known = set(SHARED_NAMES)

    def text(self, name: str, default: str | None = None, *, choices: tuple[str, ...] = ()) -> str:
        """A text; required where there is no default."""
        self._known.add(name)
        value = self._variables.get(name, default)
        if value is None:
            self._refuse(name, "to be set", "nothing")
        if choices and value not in choices:
            self._refuse(name, " | ".join(choices), value)
        return value

    def integer(self, name: str, default: int | None = None, *, least: int = 0, most: int = 2**31) -> int:
        """A whole number within bounds."""
        value = self.text(name, None if default is None else str(default))
        try:
            number = int(value)
        except ValueError:
            self._refuse(name, "a whole number", value)
        if not least <= number <= most:
            self._refuse(name, f"{least} to {most}", value)
        return number

    def seconds(self, name: str, default: float, *, most: float = 86_400.0) -> float:
        """A duration in seconds, above zero."""
        value = self.text(name, str(default))
        try:
            number = float(value)
        except ValueError:
            self._refuse(name, "seconds", value)
        if not 0 < number <= most:
            self._refuse(name, f"more than 0 and at most {most:g} seconds", value)
        return number

    def finish(self) -> None:
        """Refuse names under this service's prefix that nobody asked for."""
        for name in self._variables:
            if name.startswith(self._prefix) and name not in self._known:
                expected = ", ".join(sorted(known for known in self._known if known.startswith(self._prefix)))
                self._refuse(name, f"one of {expected or 'no such settings'}", "an unknown name")

    def _refuse(self, name: str, expected: str, found: str) -> NoReturn:
        shown = "***" if any(word in name for word in ("TOKEN", "KEY", "URL", "SECRET")) else found
        raise SettingsError(f"{self._service}: setting {name}: expected {expected}, found {shown!r}")
