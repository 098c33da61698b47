"""What the finalizer says, and to whom. No decisions.

A record that is whole is answered: to the matcher (the dispatch closes), and to the engine (the run leaves its open
rows) where the run is the engine's. One that lacks its payload is asked about, at the matcher, with the word that an
engine would send on to it (`unknown`). Who is asked about a silent run goes by whose it is, too.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from outlast import ids, limits
from outlast.contracts import codec, topics
from outlast.contracts.messages import Finished, Probe, Recorded, Unknown
from outlast.contracts.topics import TopicPartition
from outlast.messaging.ports import Outgoing

WORKFLOW = "workflow"


class Ended(NamedTuple):
    """A run that has ended, as its record has it."""

    lane: int
    company_id: str
    runbook_id: str
    has_payload: bool
    is_engines: bool = True
    """A durable run that began: the engine keeps it open until it is answered, and its payload in its history."""

    @property
    def is_whole(self) -> bool:
        """Whether its record lacks nothing."""
        return self.has_payload or self.is_engines


def answers(ended: Mapping[str, Ended], compared: Iterable[str] = ()) -> list[Outgoing]:
    """`recorded` for the runs whose records are whole and for kept comparisons; questions about the others."""
    to_engine = [name for name, each in ended.items() if each.is_engines]
    to_matcher = [(name, each.lane) for name, each in ended.items() if each.is_whole]
    asked = [ask(name, each) for name, each in ended.items() if not each.is_whole]
    return [*recorded([*to_engine, *compared], to_matcher), *asked]


def ask(execution_id: str, about: Ended) -> Outgoing:
    """Say everything about this run again."""
    kind = Probe if about.is_engines else Unknown
    question = kind(
        execution_id=execution_id,
        company_id=about.company_id,
        runbook_id=about.runbook_id,
        lane=about.lane,
    )
    topic, partition = topics.LIFECYCLE, about.lane
    if about.is_engines:
        topic, partition = topics.ENGINE_INBOX, ids.engine_partition(execution_id)
    return Outgoing(topic, codec.encode(question), execution_id.encode(), partition)


def given_up(failed: Iterable[Finished]) -> list[Outgoing]:
    """The end of these runs, said in their stead."""
    return [
        Outgoing(topics.LIFECYCLE, codec.encode(each), each.execution_id.encode(), each.lane)
        for each in failed
    ]


def recorded(to_engine: Iterable[str], to_matcher: Iterable[tuple[str, int]]) -> list[Outgoing]:
    """`recorded` messages: to the engine by its partition, to the matcher by lane."""
    by_place: dict[TopicPartition, list[str]] = {}
    for execution_id in to_engine:
        inbox = TopicPartition(topics.ENGINE_INBOX, ids.engine_partition(execution_id))
        by_place.setdefault(inbox, []).append(execution_id)
    for execution_id, lane in to_matcher:
        by_place.setdefault(TopicPartition(topics.RECORDED, lane), []).append(execution_id)
    return [
        Outgoing(at.topic, codec.encode(Recorded(executions=tuple(names[i : i + limits.RECORDED_IDS_MAX]))),
                 None, at.partition)
        for at, names in by_place.items()
        for i in range(0, len(names), limits.RECORDED_IDS_MAX)
    ]  # fmt: skip
