"""The test launcher: dies at a named point, by wrapping the ports that a service's `app` composes.

Python imports this module at start-up when its folder is on PYTHONPATH. It does nothing unless FAULTS_CONTROL names a
file {"service", "point", "nth", "token"} that is about the service being started and has not struck yet. The product
knows nothing of it.
"""

import functools
import json
import os
import signal
import sys
from pathlib import Path


def strike(fired: str, token: str) -> None:
    """Leave a mark that survives, then die as by `kill -9`."""
    with open(fired, "a") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.kill(os.getpid(), signal.SIGKILL)


def arm(control: dict, fired: str) -> None:
    """Wrap the port that the point is at."""
    left = [control["nth"]]

    def pass_by() -> None:
        left[0] -= 1
        if left[0] == 0:
            strike(fired, control["token"])

    def before(owner: type, name: str) -> None:
        inner = getattr(owner, name)

        @functools.wraps(inner)
        async def wrapped(*args, **kwargs):
            pass_by()
            return await inner(*args, **kwargs)

        setattr(owner, name, wrapped)

    def after(owner: type, name: str, applies=lambda args: True) -> None:
        inner = getattr(owner, name)

        @functools.wraps(inner)
        async def wrapped(*args, **kwargs):
            result = await inner(*args, **kwargs)
            if applies(args):
                pass_by()
            return result

        setattr(owner, name, wrapped)

    service, point = control["service"], control["point"]
    if point == "after_send":
        from outlast.messaging.kafka import KafkaSink

        inner = KafkaSink.send

        def send(self, messages):
            inner(self, messages)
            if any(not m.topic.startswith(("engine.status", "actions.catalogue")) for m in messages):
                pass_by()

        KafkaSink.send = send
        return
    if service == "action_executor":
        from outlast_action_executor.runner import ActionRunner
        from outlast_action_executor.store import PostgresLedger

        match point:
            case "after_claim":
                after(PostgresLedger, "commit", lambda args: bool(args[1].claims))
            case "after_answer":
                after(ActionRunner, "run")
            case "after_commit":
                after(PostgresLedger, "commit", lambda args: bool(args[1].settlements))
        return
    owner, name = store_of(service, point)
    (before if point.endswith("before_commit") else after)(owner, name)


def store_of(service: str, point: str) -> tuple[type, str]:
    """The class and the method that commit a batch of this service."""
    match service:
        case "trigger_matcher":
            from outlast_trigger_matcher.store import PostgresMatcherStore

            return PostgresMatcherStore, "commit_lanes" if point.startswith("lanes_") else "commit_intake"
        case "engine":
            from outlast_engine.store import PostgresEngineStore

            return PostgresEngineStore, "commit"
        case "timer_scheduler":
            from outlast_timer_scheduler.store import PostgresTimerStore

            return PostgresTimerStore, "commit"
        case "signal_delivery":
            from outlast_signal_delivery.store import PostgresSignalStore

            return PostgresSignalStore, "commit"
        case _:
            from outlast_finalizer.store import PostgresFinalizerStore

            return PostgresFinalizerStore, "commit"


def drop_answers(one_in: int) -> None:
    """One message of `gate.decisions` in so many is lost on its way to the matcher."""
    from outlast.messaging.kafka import KafkaSource

    inner = KafkaSource.poll
    seen = [0]

    def is_dropped(message) -> bool:
        if message.topic != "gate.decisions":
            return False
        seen[0] += 1
        return seen[0] % one_in == 0

    @functools.wraps(inner)
    async def poll(self, *args, **kwargs):
        return [each for each in await inner(self, *args, **kwargs) if not is_dropped(each)]

    KafkaSource.poll = poll


def patch_filter(name: str) -> None:
    """This process alone renders one template filter in another way."""
    import msgspec

    from outlast.runbooks import expressions, filters

    known = filters.FILTERS[name]

    def run(*args):
        result = known.run(*args)
        return f"{result}!" if isinstance(result, str) else result

    changed = {**filters.FILTERS, name: msgspec.structs.replace(known, run=run)}
    filters.FILTERS = expressions.FILTERS = changed


def main() -> None:
    """Arm, if this process is the one."""
    one_in = int(os.environ.get("FAULTS_DROP_ANSWERS") or 0)
    if one_in and "outlast_trigger_matcher" in sys.orig_argv:
        drop_answers(one_in)
    patched = os.environ.get("FAULTS_PATCH_FILTER", "")
    if patched and "outlast_engine" in sys.orig_argv:
        patch_filter(patched)
    path = os.environ.get("FAULTS_CONTROL", "")
    started = [word for word in sys.orig_argv if word.startswith("outlast_")]
    if not path or not started or not os.path.exists(path):
        return
    with open(path) as file:
        control = json.load(file)
    fired = path + ".fired"
    struck = Path(fired).read_text().split() if Path(fired).exists() else []
    if started[-1] == "outlast_" + control["service"] and control["token"] not in struck:
        arm(control, fired)


main()
