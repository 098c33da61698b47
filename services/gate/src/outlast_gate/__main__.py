"""`python -m outlast_gate`."""

from functools import partial

from outlast.runtime.service import run
from outlast_gate.app import build
from outlast_gate.settings import read_settings


def main() -> None:
    """Read the settings, build the service, run it until it is told to stop."""
    settings = read_settings()
    run(settings.process, partial(build, settings))


if __name__ == "__main__":
    main()
