"""Who gets which partition: balanced, and as little moved as that allows. For the broker in memory."""

from collections.abc import Collection, Mapping, Sequence

from outlast.contracts.topics import TopicPartition


def sticky_assignment(
    partitions: Sequence[TopicPartition],
    subscriptions: Mapping[str, Collection[str]],
    previous: Mapping[TopicPartition, str],
) -> dict[TopicPartition, str]:
    """Each partition's member, out of those that subscribe to its topic; nobody's are left out.

    Members' shares differ by one at most where their subscriptions are equal. The same input gives the
    same answer.
    """
    eligible = {
        at: sorted(member for member, topics in subscriptions.items() if at.topic in topics)
        for at in partitions
    }
    assigned = {at: previous[at] for at in partitions if previous.get(at) in eligible[at]}
    load = dict.fromkeys(subscriptions, 0)
    for member in assigned.values():
        load[member] += 1
    for at in partitions:
        if at not in assigned and eligible[at]:
            member = min(eligible[at], key=lambda each: (load[each], each))
            assigned[at] = member
            load[member] += 1
    while move := _next_move(assigned, eligible, load):
        at, member = move
        load[assigned[at]] -= 1
        load[member] += 1
        assigned[at] = member
    return assigned


def _next_move(
    assigned: Mapping[TopicPartition, str],
    eligible: Mapping[TopicPartition, Sequence[str]],
    load: Mapping[str, int],
) -> tuple[TopicPartition, str] | None:
    """A partition whose member has two more than another that could have it."""
    for at in sorted(assigned, reverse=True):
        member = min(eligible[at], key=lambda each: (load[each], each))
        if load[assigned[at]] >= load[member] + 2:
            return at, member
    return None
