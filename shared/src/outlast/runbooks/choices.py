"""A yes-or-no question of a definition: an action's `when`, and the expression of a `when` action."""

from datetime import datetime

from outlast.runbooks.conditions import Condition, read_condition
from outlast.runbooks.documents import Json, kind_of
from outlast.runbooks.faults import DefinitionFault
from outlast.runbooks.templates import Template, TemplateFailed, read_template


class Choice:
    """A condition tree, or one `{{ expression }}` that must give a boolean. Immutable; safe to share."""

    __slots__ = ("_answer", "at", "source")

    def __init__(self, source: Json, at: str, answer: Condition | Template) -> None:
        self.source = source
        self.at = at
        self._answer = answer

    def holds(self, context: dict[str, Json], now: datetime) -> bool:
        """The answer for this payload. TemplateFailed if it is no boolean."""
        if isinstance(self._answer, Condition):
            return self._answer.matches(context, now)
        value = self._answer.render(context, now)
        if not isinstance(value, bool):
            raise TemplateFailed(f"expected true or false, got {kind_of(value)}", self.at)
        return value


def read_choice(source: Json, at: str, faults: list[DefinitionFault]) -> Choice | None:
    """The choice at `at`; None after adding what is wrong to `faults`."""
    if isinstance(source, dict):
        condition = read_condition(source, at, faults)
        return None if condition is None else Choice(source, at, condition)
    expected = 'expected a condition, or one expression such as "{{ finding.count > 3 }}"'
    if not isinstance(source, str):
        faults.append(DefinitionFault(at, f"{expected}, got {kind_of(source)}"))
        return None
    template = read_template(source, at, faults)
    if template is None:
        return None
    if not template.keeps_type:
        faults.append(DefinitionFault(at, f"{expected} and nothing beside it"))
        return None
    return Choice(source, at, template)
