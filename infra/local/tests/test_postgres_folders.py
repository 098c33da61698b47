"""Where the embedded Postgres keeps its data when its user cannot reach the run folder of root."""

import os
import shutil
from pathlib import Path

import pytest

from outlast_local import postgres
from outlast_local.layout import RunFolder
from outlast_local.processes import Account

ME = Account("me", os.getuid(), os.getgid())


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    own = tmp_path / "own"
    own.mkdir()
    monkeypatch.setattr(postgres, "_is_reachable", lambda _: False)
    monkeypatch.setattr(postgres, "_own_folder", lambda _key, _account: own)
    return own


def test_data_stays_from_start_to_start_but_not_longer_than_its_run_folder(
    elsewhere: Path, tmp_path: Path
) -> None:
    folder = RunFolder(tmp_path / "run")
    data = postgres._data_folder(folder, ME)
    assert data == elsewhere / "postgres"
    (data / "row").touch()

    assert (postgres._data_folder(folder, ME) / "row").exists()

    shutil.rmtree(folder.root)
    assert not (postgres._data_folder(folder, ME) / "row").exists()


def test_an_ordinary_users_data_lies_in_the_run_folder(tmp_path: Path) -> None:
    assert postgres._data_folder(RunFolder(tmp_path), None) == tmp_path / "data" / "postgres"


def test_a_folder_is_reachable_only_if_all_above_it_can_be_passed(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    inner.parent.chmod(0o700)
    assert not postgres._is_reachable(inner)
