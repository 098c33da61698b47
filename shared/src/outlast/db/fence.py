"""The fenced partition row: one owner a partition, decided by the database (rule 6 of the architecture).

Every consuming loop keeps one row a partition: epoch, the topic's id, the next offset, `pending`. To acquire is to
raise the epoch and learn where to start. To commit is to move the offset in the same transaction as the work,
where the epoch and the offset are still the ones expected; otherwise somebody newer owns it: Fenced.

`pending` names what the last batch has to say to others (the ids whose commands are not known to be delivered).
It is overwritten by the next batch only when every delivery report of this one is in, and cleared when idle; a new
owner derives those commands again from what is stored.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import asyncpg

from outlast.db.pool import transaction
from outlast.errors import Fenced
from outlast.contracts.topics import Claim, TopicPartition

PARTITIONS_DDL = """
create table partitions (
    loop text not null,
    topic text not null,
    partition int not null,
    topic_id text not null,
    epoch bigint not null,
    next_offset bigint not null,
    pending text[] not null default '{}',
    acquired_at_offset bigint not null default -1,
    acquisitions int not null default 0,
    rederive_after text,
    primary key (loop, topic, partition)
) with (fillfactor = 50);
"""
