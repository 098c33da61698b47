"""What is wrong with a definition: a place and a sentence, as many as there are."""

from collections.abc import Iterable

import msgspec

from outlast.errors import PermanentError
from outlast.limits import FAULTS_MAX


class DefinitionFault(msgspec.Struct, frozen=True):
    """One fault. `path` is where it is (`rules[0].condition.all[1].op`), "" for the whole."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class DefinitionRefused(PermanentError):
    """A definition, condition or template that may not be saved; `faults` are all of them, in document order.

    `path` and `message` are those of the first.
    """

    def __init__(self, faults: Iterable[DefinitionFault]) -> None:
        self.faults = tuple(faults)[:FAULTS_MAX]
        super().__init__("; ".join(str(fault) for fault in self.faults))
        self.path = self.faults[0].path
        self.message = self.faults[0].message


def member(at: str, key: str) -> str:
    """The path of a member of the object at `at`."""
    return f"{at}.{key}" if at else key


def element(at: str, index: int) -> str:
    """The path of an element of the list at `at`."""
    return f"{at}[{index}]"
