"""The gate's own decisions beside `outlast.guardrails`, pure."""
