"""The broker's jars: fetched once by their Maven coordinates, checked against the committed list, kept in the
cache.

`kafka_jars.txt` lists every jar with its sha256, as a lock file does for wheels: a start downloads exactly
these and resolves nothing. `python -m outlast_local.jars` writes the list anew from the coordinates below.
Where to download from is the user's own choice: a mirror of central in Maven's settings.xml, or
`[repositories]` in jgo's settings. Neither Maven nor a Java installation is needed.
"""

import hashlib
import os
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from outlast_local.layout import cache_folder
from outlast_local.locks import exclusive

BROKER = ("org.apache.kafka:kafka_2.13:4.3.0", "org.slf4j:slf4j-simple:1.7.36")
TOOLS = ("org.apache.kafka:kafka-tools:4.3.0",)
LIST = Path(__file__).with_name("kafka_jars.txt")
DOWNLOADS_AT_ONCE = 8
ATTEMPTS_MAX = 4
TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Jar:
    """One line of the list. `part` is `broker` or `tools`; the tools need the broker's jars too."""

    part: str
    group: str
    artifact: str
    version: str
    sha256: str


def broker_classpath(progress: Callable[[str], None] | None = None) -> str:
    """The class path of the broker; downloads what the cache lacks."""
    return _classpath(("broker",), progress)


def tools_classpath(progress: Callable[[str], None] | None = None) -> str:
    """The class path of Kafka's command line tools, such as org.apache.kafka.tools.ConsoleProducer."""
    return _classpath(("broker", "tools"), progress)


def _classpath(parts: tuple[str, ...], progress: Callable[[str], None] | None) -> str:
    jars = [jar for jar in _listed() if jar.part in parts]
    store = _store()
    # jgo's own layout, so that a user's M2_REPO serves too
    paths = {jar: store / jar.group.replace(".", "/") / jar.artifact / jar.version for jar in jars}
    files = {jar: folder / f"{jar.artifact}-{jar.version}.jar" for jar, folder in paths.items()}
    stamp = store / f".outlast-{hashlib.sha256(LIST.read_bytes()).hexdigest()[:16]}-{'-'.join(parts)}"
    if not (stamp.exists() and all(file.exists() for file in files.values())):
        with exclusive(store / ".outlast.lock"):
            _fetch(files, store, progress)
            stamp.touch()
    return os.pathsep.join(str(file) for file in files.values())


def _store() -> Path:
    chosen = os.environ.get("M2_REPO")
    store = Path(chosen).expanduser() if chosen else cache_folder() / "maven"
    store.mkdir(parents=True, exist_ok=True)
    return store


def _listed() -> list[Jar]:
    rows = (line.split() for line in LIST.read_text().splitlines() if line and not line.startswith("#"))
    return [_jar(part, coordinate, sha256) for part, coordinate, sha256 in rows]


def _jar(part: str, coordinate: str, sha256: str) -> Jar:
    group, artifact, version = coordinate.split(":")
    return Jar(part, group, artifact, version, sha256)


def _fetch(files: dict[Jar, Path], store: Path, progress: Callable[[str], None] | None) -> None:
    from jgo.maven import MavenContext  # costs a second to import, and is not needed when all is there

    context = MavenContext(repo_cache=store, remote_repos=_repositories(), timeout=TIMEOUT_SECONDS)

    def fetch(jar: Jar) -> None:
        target = files[jar]
        problem: Exception | None = None
        for _ in range(ATTEMPTS_MAX):
            if target.exists():
                if hashlib.sha256(target.read_bytes()).hexdigest() == jar.sha256:
                    return
                target.unlink()  # an interrupted download leaves half a file
            try:
                context.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
            except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
                problem = error
        found = hashlib.sha256(target.read_bytes()).hexdigest() if target.exists() else "nothing"
        raise RuntimeError(
            f"expected {jar.group}:{jar.artifact}:{jar.version} with sha256 {jar.sha256}, got {found}"
            f" from {sorted(context.remote_repos)} after {ATTEMPTS_MAX} attempts"
        ) from problem

    missing = sum(not file.exists() for file in files.values())
    if progress and missing:
        progress(f"fetching {missing} jars of Apache Kafka")
    with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
        list(pool.map(fetch, files))


def _repositories() -> dict[str, str]:
    """Where to download from, in order: the user's mirror of central or central, then jgo's own list."""
    from jgo.config import GlobalSettings
    from jgo.constants import MAVEN_CENTRAL_URL

    repositories = {"central": _mirror_of_central() or MAVEN_CENTRAL_URL}
    repositories.update(GlobalSettings.load().repositories)
    return repositories


def _mirror_of_central() -> str | None:
    """The first mirror of central in the user's Maven settings, without credentials of its own."""
    try:
        settings = ElementTree.parse(Path.home() / ".m2" / "settings.xml").getroot()
    except (OSError, RuntimeError, ElementTree.ParseError):
        return None
    for mirror in settings.iterfind("{*}mirrors/{*}mirror"):
        covered = (mirror.findtext("{*}mirrorOf") or "").replace(" ", "").split(",")
        url = (mirror.findtext("{*}url") or "").strip()
        if url and "!central" not in covered and {"central", "*", "external:*"} & set(covered):
            return url.rstrip("/")
    return None


def _write_list() -> None:
    import jgo

    repositories = _repositories()
    rows: dict[str, str] = {}
    for part, coordinates in (("broker", BROKER), ("tools", (*BROKER, *TOOLS))):
        for artifact in jgo.resolve("+".join(coordinates), repositories=repositories):
            coordinate = f"{artifact.groupId}:{artifact.artifactId}:{artifact.version}"
            digest = hashlib.sha256(artifact.resolve().read_bytes()).hexdigest()
            rows.setdefault(coordinate, f"{part} {coordinate} {digest}")
    LIST.write_text("# written by `python -m outlast_local.jars`\n" + "\n".join(sorted(rows.values())) + "\n")


if __name__ == "__main__":
    _write_list()
    sys.stdout.write(f"wrote {LIST}\n")
