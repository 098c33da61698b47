"""Who we are: an address, a company, an API key.

They come from options, else from OUTLAST_API_URL, OUTLAST_API_KEY and OUTLAST_COMPANY, else from the run folder of
the local system, where `outlast up --sample` keeps the keys of its two demonstration companies (mode 0600).
"""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from outlast_cli.failures import Failure, refuse
from outlast_local.layout import RunFolder
from outlast_local.lifecycle import status

FILE = "profiles.json"
ADMINISTRATOR = "admin"


@dataclass(frozen=True, slots=True)
class Profile:
    """One identity of the local system."""

    key: str
    company: str = ""


@dataclass(frozen=True, slots=True)
class Profiles:
    """The identities of the local system, and which one speaks when none is named."""

    default: str = ""
    items: dict[str, Profile] = field(default_factory=dict[str, Profile])


@dataclass(frozen=True, slots=True)
class Target:
    """Whom a command talks to, as whom."""

    control_plane_url: str
    platform_url: str
    key: str
    company: str
    """"" leaves the choice to the key's own company."""
    signal_delivery_url: str = ""


def profiles_file(folder: RunFolder) -> Path:
    """Where the local system's keys are."""
    return folder.root / FILE


def read_profiles(folder: RunFolder) -> Profiles:
    """The keys of the local system: its administrator's, and those that were made for its companies."""
    administrator = _administrator(folder)
    items = {ADMINISTRATOR: Profile(administrator)} if administrator else {}
    try:
        raw = json.loads(profiles_file(folder).read_text())
    except FileNotFoundError:
        return Profiles(ADMINISTRATOR if administrator else "", items)
    except (OSError, ValueError) as fault:
        raise Failure(
            f"cannot read {profiles_file(folder)}: {fault}",
            next_step="delete it and run: outlast up --sample",
        ) from fault
    items |= {name: Profile(**item) for name, item in raw.get("items", {}).items()}
    return Profiles(raw.get("default", ""), items)


def _administrator(folder: RunFolder) -> str:
    """The key that the local system was started with."""
    chosen = os.environ.get("OUTLAST_ADMIN_KEY", "")
    try:
        return chosen or str(json.loads(folder.secrets.read_text())["OUTLAST_ADMIN_KEY"])
    except (OSError, ValueError, KeyError, TypeError):
        return chosen


def write_profiles(folder: RunFolder, profiles: Profiles) -> None:
    """Keep the keys, readable by their owner only."""
    folder.create()
    path = profiles_file(folder)
    draft = path.with_suffix(f".{os.getpid()}.draft")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        kept = {name: item for name, item in asdict(profiles)["items"].items() if name != ADMINISTRATOR}
        json.dump({"default": profiles.default, "items": kept}, file, indent=1)
    draft.replace(path)


def find_target(*, url: str | None, key: str | None, company: str | None, profile: str | None) -> Target:
    """Put options, environment and run folder together; refuse with what is missing."""
    folder = RunFolder.current()
    state = status(run_dir=folder.root)
    profiles = read_profiles(folder)
    if profile is not None and profile not in profiles.items:
        known = ", ".join(sorted(profiles.items)) or "none; outlast up --sample makes some"
        refuse(f"there is no profile {profile!r} in {folder.root}", next_step=f"known are: {known}")
    chosen = profiles.items.get(profile or profiles.default, Profile(""))
    address = (
        url or (None if profile else os.environ.get("OUTLAST_API_URL")) or state.urls.get("control_plane", "")
    )
    secret = key or (None if profile else os.environ.get("OUTLAST_API_KEY")) or chosen.key
    if not address:
        raise Failure(
            "no system runs here, and no address was given",
            next_step="start one with: outlast up --sample, or set OUTLAST_API_URL and OUTLAST_API_KEY",
        )
    if not secret:
        raise Failure(
            "no API key was given",
            next_step="set OUTLAST_API_KEY, or start a system with known keys: outlast up --sample",
        )
    uses_profile = secret == chosen.key
    return Target(
        control_plane_url=address.rstrip("/"),
        platform_url=(os.environ.get("PLATFORM_URL") or state.urls.get("platform", "")).rstrip("/"),
        signal_delivery_url=(
            os.environ.get("SIGNAL_DELIVERY_URL") or state.urls.get("signal_delivery", "")
        ).rstrip("/"),
        key=secret,
        company=company or os.environ.get("OUTLAST_COMPANY", "") or (chosen.company if uses_profile else ""),
    )
