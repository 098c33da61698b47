"""The system that the journeys share."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.journeys import BusyServer, System

from outlast_cli.sample import allow_receiver, choose_receiver, free_port_pair, use_mail_receiver
from outlast_local import down, up
from outlast_local.layout import RunFolder

SAMPLE_SECONDS_MAX = 240.0


def own_receiver(folder: RunFolder) -> None:
    """A port of our own: the usual one may be another system's by the time that we need it."""
    address = f"127.0.0.1:{free_port_pair('127.0.0.1', 0)}"
    folder.create()
    (folder.root / "receiver.json").write_text(json.dumps({"address": address}))


@pytest.fixture(scope="session")
def system() -> Iterator[System]:
    """One system for all journeys, with the samples in it."""
    busy = BusyServer()
    busy.start()
    root = Path(tempfile.mkdtemp(prefix="outlast-journeys-"))
    root.chmod(0o711)  # Postgres runs as another user if we are root, and must pass through
    folder = RunFolder(root)
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.endswith("_DATABASE_URL") or n == "KAFKA_BOOTSTRAP_SERVERS"]:
            patch.delenv(name)
        for name in ("OUTLAST_API_URL", "OUTLAST_API_KEY", "OUTLAST_COMPANY", "OUTLAST_EGRESS_ALLOW"):
            patch.delenv(name, raising=False)
        own_receiver(folder)
        receiver = choose_receiver(folder)
        patch.setenv("OUTLAST_EGRESS_ALLOW", "")
        patch.setenv("PMAP_RUNBOOK_ENGINE", "workflow")
        for name in ("OUTLAST_ACTION_EXECUTOR_SMTP_URL", "OUTLAST_ACTION_EXECUTOR_SMTP_FROM"):
            patch.setenv(name, "")
        allow_receiver(receiver)
        use_mail_receiver(receiver)
        allow_receiver(busy.address)
        try:
            running = up(run_dir=root, owner_pid=os.getpid())
            made = System(folder, running, receiver, busy)
            done = made.outlast("up", "--sample", seconds=SAMPLE_SECONDS_MAX)
            assert done.status == 0, done.error
            (root / "first.txt").write_text(done.out)
            yield made
        finally:
            down(run_dir=root)
            shutil.rmtree(root, ignore_errors=True)
