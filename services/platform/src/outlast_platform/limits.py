"""Bounds of this service, beside those of outlast.limits."""

REPORT_BYTES_MAX = 50 * 1024 * 1024
"""A scanner's report."""
FINDINGS_PER_REPORT_MAX = 100_000
REQUEST_BYTES_MAX = 4 * 1024 * 1024
"""Any other request body."""
TITLE_CHARACTERS_MAX = 300
DESCRIPTION_CHARACTERS_MAX = 8_000
PATH_CHARACTERS_MAX = 1_000
NAME_CHARACTERS_MAX = 200
TARGET_CHARACTERS_MAX = 500
TAG_CHARACTERS_MAX = 100
TAGS_MAX = 50
COMMENT_CHARACTERS_MAX = 16_000
ASSIGNEES_MAX = 50
ID_CHARACTERS_MAX = 200
"""Ids of users and teams."""
MEMBERS_MAX = 500
ATTRIBUTES_BYTES_MAX = 32 * 1024
KEY_CHARACTERS_MAX = 500
"""Ids and idempotency keys of operations."""
INTERNAL_BYTES_MAX = 64 * 1024 * 1024
"""A batch from another service of ours, where one large operation must not be the end of its neighbours."""
PAGE_DEFAULT = 100
PAGE_MAX = 1_000
IMPORTS_IN_FLIGHT_MAX = 2
"""Reports that are read at the same time; the next ones wait."""
