"""Who calls, and which signals they may send.

API keys are known by their SHA-256 only, from the compacted topic `identities` that the control plane owns.
Everyone but a platform administrator belongs to one company, and another company does not exist for them.
"""

import hashlib
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Protocol

from fastapi import Depends, Query, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from outlast.contracts.messages import Identity
from outlast.http.problems import Problem, forbidden, not_found, unavailable

NAME_PATTERN = r"^[a-z0-9]([a-z0-9._-]{0,98}[a-z0-9])?$"
"""Companies are named so: safe in a URL, a topic's name and a file's."""
SEND_SIGNALS = "send_signals"
"""The scope of a machine account that may send any signal of its company."""
SEND_SIGNAL = "send_signal:"
"""A scope `send_signal:NAME` lets it send the signals of that name."""

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
    """"" for a platform administrator, and for a machine account that works for every company."""
    role: Role
    scopes: tuple[str, ...] = ()

    def need_some_signals(self) -> None:
        """Refuse who may send no signal at all."""
        if self.role is Role.SERVICE:
            if SEND_SIGNALS in self.scopes or any(each.startswith(SEND_SIGNAL) for each in self.scopes):
                return
            raise self._needs_scope(f"{SEND_SIGNALS} or {SEND_SIGNAL}NAME")
        if self.role is Role.REMEDIATION_OWNER:
            raise forbidden(
                "Remediation owners cannot send signals yet: nothing says which signals are addressed to them. "
                f"This needs the role soc_analyst; {self.name} is remediation_owner."
            )

    def may_send(self, name: str) -> bool:
        """Whether signals of this name are the caller's to send, and to ask for."""
        if self.role is Role.SERVICE:
            return SEND_SIGNALS in self.scopes or SEND_SIGNAL + name in self.scopes
        return self.role >= Role.SOC_ANALYST

    def need_signal(self, name: str) -> None:
        """Refuse unless the caller may send signals of this name."""
        self.need_some_signals()
        if not self.may_send(name):
            raise self._needs_scope(SEND_SIGNAL + name)

    def _needs_scope(self, scope: str) -> Problem:
        return forbidden(
            f"This needs the scope {scope}; {self.name} is a machine account with {list(self.scopes)}."
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
    """From an API key to a caller."""

    def __init__(self, identities: Identities) -> None:
        self._identities = identities

    def caller(self, key: str) -> Caller:
        """Who holds this key. Problem 401: nobody, or it was revoked; 503: not known yet."""
        digest = hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
        identity = self._identities.by_key(digest)
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
