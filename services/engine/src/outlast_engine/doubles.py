"""Shadow runs in the engine: nothing of one is kept between two of its steps but the bytes of its history.

Each step is decided on a state that is folded anew from what is stored or about to be, encoded and decoded like it. So
a double that agrees with its inline run has shown that replay agrees, and not only the interpreter.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime

from outlast.execution.decide import proceed
from outlast.execution.evolve import fold
from outlast.execution.state import Execution
from outlast.history import codec
from outlast.history.events import Recorded
from outlast.runbooks.definition import Runbook


class Doubles:
    """The histories of the shadow runs that one batch is about."""

    def __init__(self) -> None:
        self._histories: dict[str, list[Recorded]] = {}

    def keep(self, state: Execution, history: Iterable[Recorded]) -> None:
        """A history that was loaded, if it is one of a shadow run."""
        if is_double(state):
            self._histories[state.id] = list(history)

    def take_on(
        self, execution_id: str, decided: Sequence[Recorded], runbook: Runbook | None, at: datetime
    ) -> tuple[Execution, list[Recorded]]:
        """As far as it goes after this decision: the state in the end, and what was decided on the way."""
        history = self._histories.setdefault(execution_id, [])
        history += _as_stored(decided)
        events: list[Recorded] = []
        while True:
            state = fold(execution_id, history)
            more = proceed(state, runbook, at)
            if not more:
                return state, events
            events += more
            history += _as_stored(more)

    def forget(self) -> list[str]:
        """All of them; returns their ids, so that their states go too."""
        ids, self._histories = list(self._histories), {}
        return ids


def is_double(state: Execution) -> bool:
    """A shadow run, also one whose outcome came before its start."""
    return state.is_shadow or (state.started is None and state.inline is not None)


def _as_stored(events: Sequence[Recorded]) -> list[Recorded]:
    return [Recorded(each.sequence, each.at, codec.decode(codec.encode(each.event))) for each in events]
