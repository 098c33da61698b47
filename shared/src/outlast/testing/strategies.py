"""Hypothesis strategies for what the contracts are made of: any value of a struct, read off its type."""

from datetime import UTC, datetime
from functools import cache
from typing import cast

import msgspec
from hypothesis import strategies as st
from msgspec import Raw
from msgspec import inspect as types

JSON_LEAVES_MAX = 6
"""Leaves of a generated JSON value, roughly."""
INTEGER_MIN, INTEGER_MAX = -(2**63), 2**63 - 1

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
"""Text that UTF-8 can carry: no lone surrogates."""
numbers = st.integers(INTEGER_MIN, INTEGER_MAX) | st.floats(allow_nan=False, allow_infinity=False)
instants = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 Hypothesis adds the zone


json_values: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=JSON_LEAVES_MAX,
)
"""Any JSON value."""
raw_json = json_values.map(lambda value: Raw(msgspec.json.encode(value)))
"""Any JSON value as the bytes that a reader does not look into."""


@cache
def values_of(kind: type[msgspec.Struct]) -> st.SearchStrategy[msgspec.Struct]:
    """Any value of a struct; members with a default are sometimes left out."""
    return _of(types.type_info(kind)).map(lambda value: cast("msgspec.Struct", value))


def _of(kind: types.Type) -> st.SearchStrategy[object]:
    match kind:
        case types.StructType(cls=cls, fields=fields):
            required = {field.name: _of(field.type) for field in fields if field.required}
            optional = {field.name: _of(field.type) for field in fields if not field.required}
            return st.fixed_dictionaries(required, optional=optional).map(lambda given: cls(**given))
        case types.UnionType(types=members):
            return st.one_of([_of(member) for member in members])
        case types.VarTupleType(item_type=item, min_length=least):
            return st.lists(_of(item), min_size=least or 0, max_size=(least or 0) + 3).map(tuple)
        case types.StrType(min_length=least, max_length=most):
            return st.text(
                st.characters(exclude_categories=["Cs"]), min_size=least or 0, max_size=min(most or 40, 40)
            )
        case types.IntType(ge=least, le=most):
            return st.integers(INTEGER_MIN if least is None else least, INTEGER_MAX if most is None else most)
        case _:
            return _leaf(kind)


def _leaf(kind: types.Type) -> st.SearchStrategy[object]:
    match kind:
        case types.BoolType():
            return st.booleans()
        case types.FloatType():
            return st.floats(allow_nan=False, allow_infinity=False)
        case types.DateTimeType():
            return instants
        case types.LiteralType(values=values):
            return st.sampled_from(values)
        case types.NoneType():
            return st.none()
        case types.RawType():
            return raw_json
        case _:
            raise NotImplementedError(f"expected a kind of type that contracts use, got {kind}")
