"""The endpoints of `/api/v1`, one module a noun."""
