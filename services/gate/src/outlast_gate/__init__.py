"""The gate: may this firing start now? Faust drives the pure decision of `outlast.guardrails`."""
