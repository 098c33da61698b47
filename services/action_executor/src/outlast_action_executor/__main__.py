"""`python -m outlast_action_executor`."""

from functools import partial

from outlast.runtime.service import run
from outlast_action_executor.app import build
from outlast_action_executor.settings import read_settings


def main() -> None:
    """Read the settings, build the service, run it until it is told to stop."""
    settings = read_settings()
    run(settings.loop.process, partial(build, settings))


if __name__ == "__main__":
    main()
