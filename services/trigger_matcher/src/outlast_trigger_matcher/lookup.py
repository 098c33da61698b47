"""Enrichment: the findings and assets that a batch of events names, in one request to the platform."""

from collections.abc import Sequence
from time import perf_counter
from typing import Protocol

import aiohttp
import msgspec
from msgspec import Raw

from outlast import limits
from outlast.errors import TransientError
from outlast_trigger_matcher import metrics

TIMEOUT_SECONDS = 10.0


class Wanted(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one event names; "" for nothing."""

    company_id: str
    finding_id: str = ""
    asset_id: str = ""


class Found(msgspec.Struct, frozen=True):
    """What the platform knows of it, as JSON; None for absent."""

    finding: Raw | None = None
    asset: Raw | None = None


class _Request(msgspec.Struct):
    requests: list[Wanted]


class _Result(msgspec.Struct):
    finding: Raw = Raw(b"null")
    asset: Raw = Raw(b"null")

    def found(self) -> Found:
        return Found(_present(self.finding), _present(self.asset))


def _present(raw: Raw) -> Raw | None:
    return None if bytes(raw) == b"null" else raw


class _Answer(msgspec.Struct):
    results: list[_Result]


class Lookup(Protocol):
    """Where enrichment comes from."""

    async def find(self, wanted: Sequence[Wanted]) -> list[Found]:
        """One answer for each, in order. TransientError while the platform is away."""
        ...


class PlatformLookup:
    """The platform service's batched look-up over HTTP."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/") + "/lookup"
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._decoder = msgspec.json.Decoder(_Answer)
        self._session: aiohttp.ClientSession | None = None

    async def find(self, wanted: Sequence[Wanted]) -> list[Found]:
        """One answer for each, in order; asked in pages of the look-up's limit."""
        found: list[Found] = []
        for first in range(0, len(wanted), limits.LOOKUP_IDS_MAX):
            found += await self._page(list(wanted[first : first + limits.LOOKUP_IDS_MAX]))
        return found

    async def _page(self, wanted: list[Wanted]) -> list[Found]:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        began = perf_counter()
        try:
            body = msgspec.json.encode(_Request(wanted))
            async with self._session.post(self._url, data=body, headers=self._headers) as response:
                content = await response.read()
                if response.status != 200:
                    raise TransientError(
                        f"expected status 200 from the platform's look-up, got {response.status}"
                    )
            answer = self._decoder.decode(content)
        except (TimeoutError, aiohttp.ClientError, OSError, msgspec.DecodeError) as fault:
            raise TransientError(f"look-up: {type(fault).__name__}: {fault}") from fault
        if len(answer.results) != len(wanted):
            raise TransientError(
                f"expected {len(wanted)} answers from the look-up, got {len(answer.results)}"
            )
        metrics.LOOKUP_SECONDS.observe(perf_counter() - began)
        return [result.found() for result in answer.results]

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
