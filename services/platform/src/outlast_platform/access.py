"""Who calls, and what they may do.

API keys are known by their SHA-256 only, from the compacted topic `identities` that the control plane owns. Other
services show the shared service token and act for every company. Everyone but a platform administrator belongs to
one company, and another company does not exist for them.
"""

import hashlib
import hmac
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Protocol

from fastapi import Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from outlast.contracts.messages import Identity
from outlast.http.problems import Problem, forbidden, not_found, unavailable
from outlast_platform.store import Actor

NAME_PATTERN = r"^[a-z0-9]([a-z0-9._-]{0,98}[a-z0-9])?$"
"""Companies are named so: safe in a URL, a topic's name and a file's."""
READ_FINDINGS = "read_findings"
WRITE_FINDINGS = "write_findings"
IMPORT_FINDINGS = "import_findings"
TEAM_SCOPE = "team:"
"""A scope `team:ID` makes a remediation owner see the findings of that team."""

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
    """"" for who belongs to no company."""
    role: Role
    scopes: tuple[str, ...] = ()

    def need(self, least: Role, *, scope: str = "") -> None:
        """Refuse unless the role reaches, or the machine account holds the scope."""
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

    def teams(self) -> list[str] | None:
        """Ids of the teams whose findings and assets the caller may see; None for all."""
        if self.role is not Role.REMEDIATION_OWNER:
            return None
        return [scope.removeprefix(TEAM_SCOPE) for scope in self.scopes if scope.startswith(TEAM_SCOPE)]

    def actor(self) -> Actor:
        """The caller as history and audit log have it."""
        kind = "service" if self.role is Role.SERVICE or self.id == SERVICE.id else "user"
        return Actor(kind, self.id, self.name)


SERVICE = Caller("outlast", "outlast", "", Role.PLATFORM_ADMINISTRATOR)
"""Another service of ours, by the shared token."""


class Identities(Protocol):
    """Where API keys are known from."""

    @property
    def is_ready(self) -> bool:
        """Whether every key that exists is known by now."""
        ...

    def by_key(self, key_sha256: str) -> Identity | None:
        """The identity whose key has this digest, revoked or not; None if there is none."""
        ...


class Keyring:
    """From a bearer token to a caller."""

    def __init__(self, identities: Identities, service_token: str) -> None:
        self._identities = identities
        self._service_token = service_token.encode()

    def is_service(self, token: bytes) -> bool:
        """Whether this is the token that our services share. False for everybody where none is set."""
        return bool(self._service_token) and hmac.compare_digest(token, self._service_token)

    def caller(self, token: str) -> Caller:
        """Who holds this token. Problem 401: nobody, or it was revoked; 503: not known yet."""
        encoded = token.encode("utf-8", "surrogatepass")
        if self.is_service(encoded):
            return SERVICE
        identity = self._identities.by_key(hashlib.sha256(encoded).hexdigest())
        if identity is not None and not identity.is_revoked:
            role = Role[identity.role.upper()]
            return Caller(identity.id, identity.name, identity.company_id, role, identity.scopes)
        if identity is None and not self._identities.is_ready:
            raise unavailable("Identities are still being read; try again.")
        raise unauthenticated("Nobody holds this API key, or it was revoked.")


def unauthenticated(detail: str) -> Problem:
    """Who calls is not known."""
    return Problem(401, "unauthenticated", detail, headers={"WWW-Authenticate": "Bearer"})


async def authenticate(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Caller:
    """The caller of a request, or 401."""
    if credentials is None:
        raise unauthenticated("This needs an API key: Authorization: Bearer olk_…")
    return request.app.state.services.keyring.caller(credentials.credentials)


CallerIs = Annotated[Caller, Depends(authenticate)]
CompanyNamed = Annotated[
    str | None,
    Query(
        alias="company", pattern=NAME_PATTERN, description="The company meant; needed by who belongs to none."
    ),
]
