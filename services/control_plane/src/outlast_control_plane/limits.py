"""Bounds of this API, beside those of outlast.limits."""

REQUEST_BYTES_MAX = 4 * 1024 * 1024
"""Any request body: a batch of events is the largest."""
REQUESTS_AT_ONCE_MAX = 256
"""Connections that are being answered; more are told 503, so that bodies cannot fill the memory."""
EVENTS_PER_REQUEST_MAX = 500
PAGE_MAX = 200
PAGE_DEFAULT = 50
HISTORY_PAGE_MAX = 1_000
PLAN_DOCUMENTS_MAX = 200
IDEMPOTENCY_KEY_CHARACTERS_MAX = 200
IDEMPOTENCY_DAYS = 1
ACCEPTED_EVENT_DAYS = 7
IDENTITY_CACHE_MAX = 10_000
IDENTITY_CACHE_SECONDS = 5.0
"""How long a revoked key may still be good in another instance; in the one that revoked it, not at all."""
SUPPRESSED_PER_REQUEST_MAX = 500
TRIGGER_DATA_BYTES_MAX = 200 * 1024
"""Of a manual trigger: with its envelope it stays below the limit of an event."""
FORWARD_TIMEOUT_SECONDS = 10.0
