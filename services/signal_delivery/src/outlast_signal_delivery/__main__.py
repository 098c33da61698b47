"""The process: settings, app, run."""

from outlast.runtime.service import run
from outlast_signal_delivery.app import build
from outlast_signal_delivery.settings import read_settings


def main() -> None:
    """Serve until told to stop."""
    settings = read_settings()
    run(settings.process, lambda health, stop: build(settings, health, stop))


if __name__ == "__main__":
    main()
