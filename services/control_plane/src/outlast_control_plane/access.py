"""Who calls, and what they may do. A key is known by its SHA-256 only.

Roles are those of the product: remediation owner < SOC analyst < security engineer < platform administrator; a
service (machine account) may do what its scopes name and nothing else. Everyone but a platform administrator
belongs to one company, and another company does not exist for them.
"""

import hashlib
import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Protocol

from fastapi import Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from outlast.contracts.messages import Identity
from outlast.http.problems import Problem, forbidden, not_found
from outlast_control_plane.limits import IDENTITY_CACHE_MAX, IDENTITY_CACHE_SECONDS

KEY_PREFIX = "olk_"
NAME_PATTERN = r"^[a-z0-9]([a-z0-9._-]{0,98}[a-z0-9])?$"
"""Companies, producers and runbooks are named so: safe in a URL, a topic's name and a file's."""
PUBLISH_EVENTS = "publish_events"
SOURCE_SCOPE = "source:"
"""A scope `source:PREFIX` limits the CloudEvents sources of what its holder publishes."""
READ_RUNS = "read_runs"

_bearer = HTTPBearer(auto_error=False, description="An API key, `olk_…`.")


class Role(IntEnum):
    """Who may more has the greater number; a service stands outside of the order."""

    SERVICE = 0
    REMEDIATION_OWNER = 1
    SOC_ANALYST = 2
    SECURITY_ENGINEER = 3
    PLATFORM_ADMINISTRATOR = 4


@dataclass(frozen=True, slots=True)
class Caller:
    """The identity behind a request."""

    id: str
    name: str
    company_id: str
    """"" for a platform administrator, and for a service that works for every company."""
    role: Role
    scopes: tuple[str, ...]

    @property
    def is_administrator(self) -> bool:
        """Sees every company."""
        return self.role is Role.PLATFORM_ADMINISTRATOR

    def need(self, least: Role, *, scope: str = "") -> None:
        """Refuse unless the role reaches, or the service holds the scope."""
        if self.role is Role.SERVICE:
            if scope and scope in self.scopes:
                return
            wanted = f"the scope {scope}" if scope else "a person's role"
            raise forbidden(
                f"This needs {wanted}; {self.name} is a machine account with {list(self.scopes)}."
            )
        if self.role < least:
            raise forbidden(
                f"This needs the role {least.name.lower()}; {self.name} is {self.role.name.lower()}."
            )

    def company(self, named: str | None) -> str:
        """The company that a request is about. Another's is answered as one that does not exist."""
        if self.company_id:
            if named is not None and named != self.company_id:
                raise not_found("company")
            return self.company_id
        if named is None:
            raise Problem(
                400, "company_needed", f"{self.name} belongs to no company; say which with ?company=NAME."
            )
        return named

    def company_or_all(self, named: str | None) -> str | None:
        """Like `company`, but None (every company) for an administrator who names none."""
        return None if not self.company_id and named is None else self.company(named)


class Identities(Protocol):
    """Where identities are kept."""

    async def identity_by_key(self, key_sha256: str) -> Identity | None:
        """The identity whose key has this digest, revoked or not; None if there is none."""
        ...


def key_digest(key: str) -> str:
    """What is stored of a key. Keys are 256 random bits, so a plain digest is enough."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def identity_id(key_sha256: str) -> str:
    """The id of the identity with this key: it tells nothing of the key's digest."""
    return "id_" + hashlib.sha256(f"identity\0{key_sha256}".encode()).hexdigest()[:20]


def new_key() -> str:
    """A key that nobody has."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def caller_of(identity: Identity) -> Caller:
    """The caller that an identity makes."""
    return Caller(
        identity.id, identity.name, identity.company_id, Role[identity.role.upper()], identity.scopes
    )


class Keyring:
    """Digests to callers, with a short memory, so that a busy producer is not a query a request."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities
        self._known: OrderedDict[str, tuple[float, Caller | None]] = OrderedDict()

    async def caller(self, key: str) -> Caller | None:
        """Who holds this key; None if nobody does, or it was revoked."""
        digest = key_digest(key)
        found = self._known.get(digest)
        if found is not None and found[0] > time.monotonic():
            return found[1]
        identity = await self._identities.identity_by_key(digest)
        caller = None if identity is None or identity.is_revoked else caller_of(identity)
        self._known[digest] = (time.monotonic() + IDENTITY_CACHE_SECONDS, caller)
        while len(self._known) > IDENTITY_CACHE_MAX:
            self._known.popitem(last=False)
        return caller

    def forget(self) -> None:
        """Some identity changed: ask again for all."""
        self._known.clear()


async def authenticate(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    """The caller of a request, or 401."""
    if credentials is None:
        raise _unauthenticated("This needs an API key: Authorization: Bearer olk_…")
    caller = await request.app.state.services.keyring.caller(credentials.credentials)
    if caller is None:
        raise _unauthenticated("Nobody holds this API key, or it was revoked.")
    return caller


def _unauthenticated(detail: str) -> Problem:
    return Problem(401, "unauthenticated", detail, headers={"WWW-Authenticate": "Bearer"})


CallerIs = Annotated[Caller, Depends(authenticate)]
CompanyNamed = Annotated[
    str | None,
    Query(
        alias="company", pattern=NAME_PATTERN, description="The company meant; needed by who belongs to none."
    ),
]
