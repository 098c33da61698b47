"""The process: settings, app, run."""

from outlast.runtime.service import run
from outlast_platform.app import build
from outlast_platform.settings import read_settings


def main() -> None:
    """Serve until told to stop."""
    settings = read_settings()
    run(settings.process, lambda health, stop: build(settings, health, stop))


if __name__ == "__main__":
    main()
