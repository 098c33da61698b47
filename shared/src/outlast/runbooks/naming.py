"""A runbook's id: its name as it may stand in a URL, a topic's key and a file's name."""

import hashlib
import re
import unicodedata

ID_CHARACTERS_MAX = 80
_OTHER = re.compile(r"[^a-z0-9]+")


def runbook_id(name: str) -> str:
    """The id that a name gives: "Critical finding → page!" gives critical-finding-page. Never empty.

    Names that differ in case or punctuation only are names of one runbook.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    text = _OTHER.sub("-", plain).strip("-")[:ID_CHARACTERS_MAX].rstrip("-")
    return text or f"runbook-{hashlib.sha256(name.encode()).hexdigest()[:12]}"
