"""Fetching jars: from the user's own mirror, exactly those of the committed list, whole."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from outlast_local import jars

CONTENT = b"PK a jar, as far as anybody here looks"
PLACE = "org/example/thing/1.0/thing-1.0.jar"


class Quiet(SimpleHTTPRequestHandler):
    """A Maven repository over a folder."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The served folder. HOME's Maven settings name it as the mirror of central; the store is empty."""
    served, home = tmp_path / "served", tmp_path / "home"
    (served / PLACE).parent.mkdir(parents=True)
    (served / PLACE).write_bytes(CONTENT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    (home / ".m2").mkdir(parents=True)
    (home / ".m2" / "settings.xml").write_text(
        '<settings xmlns="http://maven.apache.org/SETTINGS/1.0.0"><mirrors><mirror><id>ours</id>'
        f"<mirrorOf>*</mirrorOf><url>http://127.0.0.1:{server.server_port}/</url></mirror></mirrors></settings>"
    )
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("M2_REPO", str(tmp_path / "store"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    listed = tmp_path / "list.txt"
    listed.write_text(f"# a list\nbroker org.example:thing:1.0 {hashlib.sha256(CONTENT).hexdigest()}\n")
    monkeypatch.setattr(jars, "LIST", listed)
    yield served
    server.shutdown()
    server.server_close()


def test_a_jar_comes_from_the_users_mirror_and_is_not_asked_for_again(
    repository: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    path = jars.broker_classpath(told.append)
    assert Path(path) == tmp_path / "store" / PLACE
    assert Path(path).read_bytes() == CONTENT

    (repository / PLACE).unlink()
    assert jars.broker_classpath(told.append) == path
    assert told == ["fetching 1 jars of Apache Kafka"]


def test_half_a_jar_left_by_an_interrupted_download_is_replaced(repository: Path, tmp_path: Path) -> None:
    half = tmp_path / "store" / PLACE
    half.parent.mkdir(parents=True)
    half.write_bytes(CONTENT[:10])

    jars.broker_classpath()

    assert half.read_bytes() == CONTENT


def test_a_jar_that_is_not_the_listed_one_is_refused(repository: Path) -> None:
    (repository / PLACE).write_bytes(b"something else")

    with pytest.raises(RuntimeError, match=r"expected org\.example:thing:1\.0 with sha256"):
        jars.broker_classpath()
