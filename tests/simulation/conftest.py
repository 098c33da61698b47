"""Fault after fault is business as usual here: the product's log stays silent unless SIMULATION_LOG is set."""

import logging
import os

import pytest
import structlog


@pytest.fixture(autouse=True)
def _silence():
    level = logging.DEBUG if "SIMULATION_LOG" in os.environ else logging.CRITICAL
    before = structlog.get_config()["wrapper_class"]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    yield
    structlog.configure(wrapper_class=before)
