"""What the gate tells Faust, as far as it shows without a broker."""

from pathlib import Path

import pytest

from outlast_gate.stream import Stream


def test_it_starts_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = Stream("127.0.0.1:1", "0", 4)._app
    app._create_directories()  # what Faust does first when it starts
    assert list(tmp_path.iterdir()) == []
