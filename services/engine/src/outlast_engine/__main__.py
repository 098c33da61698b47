"""`python -m outlast_engine`."""

from functools import partial

import uvloop

from outlast.runtime.service import run
from outlast_engine.app import build
from outlast_engine.settings import read_settings


def main() -> None:
    """Read the settings, build the service, run it until it is told to stop."""
    settings = read_settings()
    # at a calm pace a turn is mostly its sockets and wake-ups
    run(settings.process, partial(build, settings), uvloop.new_event_loop)


if __name__ == "__main__":
    main()
