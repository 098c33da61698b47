"""What an HTTP answer means for an action: success, try again, or never."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, unquote_plus

import msgspec

from outlast.actions import ActionFailed, HttpRequest, HttpResponse
from outlast.limits import ERROR_EXCERPT_CHARACTERS_MAX, OUTPUT_BYTES_MAX

RETRYABLE = frozenset((408, 425, 429))
RETRY_AFTER_SECONDS_MAX = 24 * 3600.0
_BODY_BYTES_MAX = OUTPUT_BYTES_MAX // 2
"""Of a body in an output: JSON text may double by escaping."""
_EXCERPT_BYTES_MAX = 4 * ERROR_EXCERPT_CHARACTERS_MAX
_SECRET_CHARACTERS_MIN = 8
_SECRET_PART_CHARACTERS_MIN = 20
"""A part of a URL's path that is so long names nothing that people named: webhooks have their credential there."""
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]+")


def is_accepted(status: int, accepted: Sequence[int]) -> bool:
    """Whether the status is one of those wanted; 200 to 299 where none is named."""
    return status in accepted if accepted else 200 <= status < 300


def output_of(response: HttpResponse) -> dict[str, object]:
    """What later actions can read: status, body (parsed where it is JSON), whether it was cut."""
    output: dict[str, object] = {"status": response.status}
    body = response.body[:_BODY_BYTES_MAX]
    is_cut = response.is_truncated or len(body) < len(response.body)
    if body:
        output["body"] = _parsed(response, body, is_cut=is_cut)
    if is_cut:
        output["truncated"] = True
    return output


def refuse(request: HttpRequest, response: HttpResponse, now: datetime) -> ActionFailed:
    """The failure that an unwanted status is."""
    status = response.status
    message = f"expected another status than {status}"
    excerpt = _excerpt(request, response)
    if excerpt:
        message = f"{message}: {excerpt}"
    if status == 410:
        return ActionFailed("endpoint_gone", message)
    if status in RETRYABLE or 500 <= status < 600:
        return ActionFailed(
            f"http_{status}",
            message,
            is_retryable=True,
            retry_after_seconds=retry_after(response.headers.get("retry-after", ""), now),
        )
    return ActionFailed(f"http_{status}", message)


def retry_after(text: str, now: datetime) -> float | None:
    """Seconds of a Retry-After header: a number, or an HTTP date; None if it is neither. At most a day."""
    text = text.strip()
    if text.isascii() and text.isdigit() and len(text) < 10:
        return min(float(text), RETRY_AFTER_SECONDS_MAX)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return min(max((at - now).total_seconds(), 0.0), RETRY_AFTER_SECONDS_MAX)


def _parsed(response: HttpResponse, body: bytes, *, is_cut: bool) -> object:
    if not is_cut and "json" in response.headers.get("content-type", "").lower():
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass
    return body.decode("utf-8", "replace")


def _excerpt(request: HttpRequest, response: HttpResponse) -> str:
    """The beginning of the body on one line, without what the request sent as a secret: servers echo."""
    head = response.body[:_EXCERPT_BYTES_MAX]
    text = head.decode("utf-8", "replace")
    secrets = _secrets(request.headers, request.url)
    for secret in secrets:
        text = text.replace(secret, "***")
    if len(head) < len(response.body) or response.is_truncated:
        text = _without_cut_secret(text, secrets)
    return _UNPRINTABLE.sub(" ", text).strip()[:ERROR_EXCERPT_CHARACTERS_MAX]


def _secrets(headers: Mapping[str, str], url: str) -> list[str]:
    """What may be a credential, longest first, as it was sent and as a server would understand it."""
    words = [word for value in headers.values() for word in (value, *value.split())]
    path, _, query = url.partition("?")
    words += [part.partition("=")[2] for part in query.split("&")]
    words += [part for part in path.split("/")[3:] if len(part) >= _SECRET_PART_CHARACTERS_MIN]
    understood = [each for word in words for each in (word, unquote(word), unquote_plus(word))]
    return sorted({word for word in understood if len(word) >= _SECRET_CHARACTERS_MIN}, key=len, reverse=True)


def _without_cut_secret(text: str, secrets: Sequence[str]) -> str:
    """Text that was cut somewhere, without the beginning of a secret at its end."""
    for secret in secrets:
        for length in range(min(len(secret) - 1, len(text)), 0, -1):
            if text.endswith(secret[:length]):
                return text[:-length]
    return text
