"""A run that is no durable one is not answered until its record has the payload, whatever the broker lost of it."""

from outlast.contracts import codec, topics
from outlast.contracts.messages import Unknown
from outlast_finalizer.core.outcome import latest_rows
from outlast_finalizer.outbound import Ended
from outlast_finalizer.work import FinalizerWork

from .said import EXECUTION, PAYLOAD, Rows, finished, places, received, started, withheld

ABOUT = {"execution_id": EXECUTION, "company_id": "acme", "runbook_id": "r", "lane": 2}


async def test_an_ended_run_without_a_payload_in_its_record_is_asked_about_instead():
    for message in (withheld(), finished(mode="inline"), finished(mode="shadow")):
        work = FinalizerWork(Rows(bare=[EXECUTION]))
        turn = await work.decide([received(message)])
        await work.commit(turn, [])
        (question,) = turn.outgoing
        assert (question.topic, question.partition) == (topics.LIFECYCLE, 2)
        assert codec.lifecycle.decode(question.value) == Unknown(**ABOUT)
        assert turn.pending == {received(message).at: [EXECUTION]}


async def test_a_new_owner_asks_again_what_the_old_one_may_not_have_asked():
    rows = Rows(ended={EXECUTION: Ended(2, "acme", "r", has_payload=False, is_engines=False)})
    (question,) = await FinalizerWork(rows).derive(received(finished()).at, [EXECUTION])
    assert codec.lifecycle.decode(question.value) == Unknown(**ABOUT)


async def test_a_new_owner_answers_again_what_the_old_one_may_not_have_answered():
    rows = Rows(
        ended={EXECUTION: Ended(2, "acme", "r", has_payload=True, is_engines=False)}, comparisons=[EXECUTION]
    )
    answered = await FinalizerWork(rows).derive(received(finished()).at, [EXECUTION])
    assert places(answered) == [(topics.ENGINE_INBOX, 1), (topics.RECORDED, 2)]


def test_a_payload_is_kept_whichever_message_of_the_batch_brought_it():
    for messages in (
        [started(), finished()],
        [finished(), started()],
        [finished(), finished(payload=PAYLOAD)],
    ):
        (row,) = latest_rows(messages)
        assert (row.status, row.payload) == ("success", bytes(PAYLOAD))
