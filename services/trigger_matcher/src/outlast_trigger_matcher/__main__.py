"""`python -m outlast_trigger_matcher`."""

from functools import partial

import uvloop

from outlast.runtime.service import run
from outlast_trigger_matcher.app import build
from outlast_trigger_matcher.settings import read_settings


def main() -> None:
    """Read the settings, build the service, run it until it is told to stop."""
    settings = read_settings()
    # at a calm pace a turn is mostly its sockets and wake-ups
    run(settings.process, partial(build, settings), uvloop.new_event_loop)


if __name__ == "__main__":
    main()
