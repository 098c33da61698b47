"""The engine's door: what may come in, and what a probe for an unknown run is answered."""

from collections.abc import Collection, Mapping, Sequence

import pytest

from outlast.contracts import codec, topics
from outlast.contracts.messages import Message, Probe, Recorded, Unknown
from outlast.db.fence import Move
from outlast.errors import ContractError
from outlast.history.events import Recorded as Stored
from outlast.messaging.ports import Received
from outlast_engine import inbound
from outlast_engine.store import Changes
from outlast_engine.work import EngineWork

EXECUTION = "019b8a00-0000-8001-8000-000000000001"
"""Of partition 1."""


def received(message: Message, partition: int = 1) -> Received:
    return Received(topics.ENGINE_INBOX, partition, 0, 0, None, codec.encode(message))


def probe(execution: str = EXECUTION) -> Probe:
    return Probe(execution_id=execution, company_id="acme", runbook_id="r", lane=2)


@pytest.mark.parametrize("execution", ["no id", EXECUTION.upper(), "019b8a00-0000-7001-8000-000000000001"])
def test_what_is_no_execution_id_is_refused(execution: str):
    with pytest.raises(ContractError):
        inbound.read(received(probe(execution)))
    with pytest.raises(ContractError):
        inbound.read(received(Recorded(executions=(EXECUTION, execution))))


def test_a_run_in_the_inbox_of_another_partition_is_refused():
    assert inbound.read(received(probe())).message == probe()
    with pytest.raises(ContractError, match="partition 2"):
        inbound.read(received(probe(), partition=2))


class Nothing:
    """A database without a row."""

    async def load(self, execution_ids: Collection[str]) -> Mapping[str, Sequence[Stored]]:
        return {}

    async def definitions(self, digests: Collection[str]) -> Mapping[str, bytes]:
        return {}

    async def commit(self, changes: Changes, moves: Sequence[Move]) -> None: ...

    async def open_page(self, partition: int, after: str, page_max: int) -> Sequence[str]:
        return ()


async def test_an_unknown_run_is_answered_before_the_commit_because_no_row_implies_the_answer():
    turn = await EngineWork(Nothing()).decide([received(probe())])
    assert turn.outgoing == []
    assert turn.pending == {}
    (answer,) = turn.answers
    assert (answer.topic, answer.partition) == (topics.LIFECYCLE, 2)
    assert codec.lifecycle.decode(answer.value) == Unknown(
        execution_id=EXECUTION, company_id="acme", runbook_id="r", lane=2
    )
