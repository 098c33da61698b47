"""Reads action lists: kinds by the catalogue, ids given or by position, branches within branches."""

import re
from datetime import timedelta

from outlast.limits import ACTIONS_MAX, ACTIVITY_TIMEOUT_SECONDS_MAX, BRANCH_DEPTH_MAX, WAIT_SECONDS_MAX
from outlast.runbooks.catalogue import BRANCH_TYPE, WAITING_TYPES, ActionKind, Catalogue
from outlast.runbooks.choices import Choice, read_choice
from outlast.runbooks.definition import Action, Branch, OnUnknown, Retry, Step, generated_id
from outlast.runbooks.documents import Json, kind_of
from outlast.runbooks.durations import parse_duration
from outlast.runbooks.faults import DefinitionFault, element, member
from outlast.runbooks.fields import FieldReader
from outlast.runbooks.placeholders import has_placeholder
from outlast.runbooks.schemas import schema_faults, with_placeholder_defaults
from outlast.runbooks.templates import TemplateValue
from outlast.runbooks.trees import suggestion

_COMMON_KEYS = ("id", "type", "name", "when", "continue_on_error", "compensate")
_ACTION_KEYS = (*_COMMON_KEYS, "config", "retry", "timeout", "on_unknown")
_BRANCH_KEYS = (*_COMMON_KEYS, "expression", "then", "else")
_RETRY_KEYS = ("max_attempts", "initial_backoff", "max_backoff", "factor")
_ON_UNKNOWN: tuple[OnUnknown, ...] = ("retry", "fail")
_ID = re.compile("[A-Za-z_][A-Za-z0-9_-]{0,63}")
_NAME_CHARACTERS_MAX = 200
_SECOND = timedelta(seconds=1)
_WAIT_MAX = timedelta(seconds=WAIT_SECONDS_MAX)
_BACKOFF_MAX = timedelta(days=1)
_ATTEMPTS_MAX = 20


class ActionReader:
    """Reads the actions of one definition; what is wrong is added to `faults`."""

    def __init__(self, catalogue: Catalogue, faults: list[DefinitionFault]) -> None:
        self._catalogue = catalogue
        self._faults = faults
        self._paths: dict[str, str] = {}
        self._count = 0

    def read_list(self, actions: Json, at: str, parent: str, depth: int) -> tuple[Step, ...]:
        """The actions at `at`, inside `depth` branches; without those that have faults."""
        if actions is None:
            return ()
        if not isinstance(actions, list):
            self._fault(at, f"expected a list of actions, got {kind_of(actions)}")
            return ()
        if depth > BRANCH_DEPTH_MAX:
            self._fault(at, f"expected at most {BRANCH_DEPTH_MAX} branches within each other")
            return ()
        read = [
            self._step(action, element(at, i), generated_id(parent, i + 1), depth)
            for i, action in enumerate(actions)
        ]
        return tuple(step for step in read if step is not None)

    def _step(self, action: Json, at: str, default_id: str, depth: int) -> Step | None:
        self._count += 1
        if self._count == ACTIONS_MAX + 1:
            self._fault("actions", f"expected at most {ACTIONS_MAX} actions, branches included")
        if not isinstance(action, dict):
            self._fault(at, f"expected an action with a type, got {kind_of(action)}")
            return None
        fields = FieldReader(action, at, self._faults)
        kind = fields.text("type", None, _NAME_CHARACTERS_MAX)
        if kind == BRANCH_TYPE:
            return self._branch(action, fields, at, default_id, depth)
        return self._action(action, fields, at, default_id, kind)

    def _branch(
        self, action: dict[str, Json], fields: FieldReader, at: str, default_id: str, depth: int
    ) -> Branch | None:
        fields.refuse_unknown(_BRANCH_KEYS)
        step_id = self._id(fields, at, default_id)
        fields.required("then")
        then = self.read_list(action.get("then"), member(at, "then"), f"{step_id}_then", depth + 1)
        if action.get("then") == []:
            fields.fault("then", "expected at least one action, got none")
        otherwise = self.read_list(action.get("else"), member(at, "else"), f"{step_id}_else", depth + 1)
        expression = self._choice(action, at, "expression")
        if "expression" not in action:
            fields.required("expression")
        when = self._choice(action, at, "when")
        name = fields.text("name", "", _NAME_CHARACTERS_MAX)
        continue_on_error = fields.boolean("continue_on_error", default=True)
        if expression is None:
            return None
        return Branch(
            id=step_id,
            expression=expression,
            then=then,
            otherwise=otherwise,
            name=name,
            when=when,
            continue_on_error=continue_on_error,
        )

    def _action(
        self, action: dict[str, Json], fields: FieldReader, at: str, default_id: str, type_name: str
    ) -> Action | None:
        kind = self._kind(type_name, fields)
        fields.refuse_unknown(_ACTION_KEYS)
        step_id = self._id(fields, at, default_id)
        config = self._config(action.get("config", {}), member(at, "config"), kind)
        when = self._choice(action, at, "when")
        retry = self._retry(action, at)
        timeout = fields.duration("timeout", timedelta(), _SECOND, ACTIVITY_TIMEOUT_SECONDS_MAX * _SECOND)
        name = fields.text("name", "", _NAME_CHARACTERS_MAX)
        continue_on_error = fields.boolean("continue_on_error", default=True)
        on_unknown: OnUnknown | None = fields.one_of("on_unknown", _ON_UNKNOWN, None)
        if kind is None:
            return None
        return Action(
            id=step_id,
            type=kind.type,
            action_class=kind.action_class,
            config=config,
            name=name,
            when=when,
            retry=retry,
            timeout=timeout or None,
            continue_on_error=continue_on_error,
            on_unknown=on_unknown or "retry",
            is_idempotent=kind.is_idempotent,
        )

    def _kind(self, type_name: str, fields: FieldReader) -> ActionKind | None:
        kind = self._catalogue.get(type_name)
        if kind is None and type_name:
            known = suggestion(type_name, self._catalogue.types)
            fields.fault("type", f'unknown action type "{type_name[:60]}"{known}')
        return kind

    def _config(self, config: Json, at: str, kind: ActionKind | None) -> TemplateValue:
        if not isinstance(config, dict):
            self._fault(at, f"expected an object, got {kind_of(config)}")
            return TemplateValue({})
        if kind is not None:
            config = with_placeholder_defaults(config, kind.config_schema)
        before = len(self._faults)
        value = TemplateValue(config, at, self._faults)
        if kind is not None and len(self._faults) == before:
            self._faults.extend(schema_faults(config, kind.config_schema, at))
            if kind.type in WAITING_TYPES and len(self._faults) == before:
                self._check_wait(config, at)
        return value

    def _check_wait(self, config: dict[str, Json], at: str) -> None:
        """A wait that is written out is bounded here; one that is rendered, when it is."""
        for name in ("duration", "timeout"):
            text = config.get(name)
            if not isinstance(text, str) or has_placeholder(text):
                continue
            try:
                is_too_long = parse_duration(text) > _WAIT_MAX
            except ValueError:  # more days than there are
                is_too_long = True
            if is_too_long:
                self._fault(member(at, name), f'expected at most {_WAIT_MAX.days}d, got "{text[:40]}"')

    def _id(self, fields: FieldReader, at: str, default_id: str) -> str:
        step_id = fields.text("id", default_id, _NAME_CHARACTERS_MAX)
        if not _ID.fullmatch(step_id) and step_id != default_id:
            fields.fault("id", "expected letters, digits, _ and -, at most 64, not beginning with a digit")
        elif step_id in self._paths:
            fields.fault("id", f'expected an id of its own, but {self._paths[step_id]} is "{step_id}" too')
        self._paths.setdefault(step_id, at)
        return step_id

    def _choice(self, action: dict[str, Json], at: str, key: str) -> Choice | None:
        return read_choice(action[key], member(at, key), self._faults) if key in action else None

    def _retry(self, action: dict[str, Json], at: str) -> Retry | None:
        if "retry" not in action:
            return None
        retry, path = action["retry"], member(at, "retry")
        if not isinstance(retry, dict):
            self._fault(path, f"expected an object with max_attempts, got {kind_of(retry)}")
            return None
        fields = FieldReader(retry, path, self._faults)
        fields.refuse_unknown(_RETRY_KEYS)
        default = Retry(max_attempts=1)
        policy = Retry(
            max_attempts=fields.whole_number("max_attempts", None, 1, _ATTEMPTS_MAX),
            initial_backoff=fields.duration(
                "initial_backoff", default.initial_backoff, _SECOND, _BACKOFF_MAX
            ),
            max_backoff=fields.duration("max_backoff", default.max_backoff, _SECOND, _BACKOFF_MAX),
            factor=float(fields.number("factor", default.factor, 1, 10)),
        )
        if policy.max_backoff < policy.initial_backoff and "max_backoff" in retry:
            fields.fault("max_backoff", "expected at least initial_backoff")
        return policy

    def _fault(self, path: str, message: str) -> None:
        self._faults.append(DefinitionFault(path, message))
