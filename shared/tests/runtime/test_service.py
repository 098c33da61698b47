"""How a service process ends: in order, in a way that says try again, or in one that says do not."""

import os
import subprocess
import sys

import pytest

HEAD = """
import asyncio
from outlast.errors import TransientError
from outlast.runtime.service import App, ProcessSettings, run

async def waits(stop):
    await stop.wait(60)

async def build(health, stop):
    {body}

run(ProcessSettings("trial", "0", "info", "127.0.0.1", 0), build{more})
"""
ENDS = "stop.event.set(); return App({'waits': waits(stop)})"


def life(body: str, more: str = "") -> "subprocess.CompletedProcess[str]":
    """A process of its own, whose service is built like that."""
    command = [sys.executable, "-c", HEAD.format(body=body, more=more)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("more", ["", ", asyncio.new_event_loop"])
def test_a_service_that_is_told_to_stop_ends_in_order(more: str) -> None:
    ended = life(ENDS, more)
    assert ended.returncode == 0, ended.stderr
    assert "stopped" in ended.stdout + ended.stderr


def test_what_it_needs_being_away_at_the_start_says_try_again() -> None:
    ended = life("raise TransientError('no broker answers')")
    assert ended.returncode == os.EX_TEMPFAIL
    assert "no broker answers" in ended.stdout + ended.stderr


def test_a_fault_at_the_start_is_no_reason_to_try_again() -> None:
    ended = life("raise ValueError('a bad setting')")
    assert ended.returncode == 1
    assert "a bad setting" in ended.stderr
