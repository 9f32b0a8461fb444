"""Hypothesis strategies for msgspec structs, from their declared types."""

import enum
from collections.abc import Mapping
from typing import Any

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

SMALLEST, LARGEST = -(2**63), 2**63 - 1
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS: dict[type[inspect.Type], st.SearchStrategy[Any]] = {
    inspect.NoneType: st.none(),
    inspect.BoolType: st.booleans(),
    inspect.IntType: st.integers(SMALLEST, LARGEST),
    inspect.FloatType: st.floats(allow_nan=False),
    inspect.StrType: TEXT,
    inspect.BytesType: st.binary(max_size=12),
}


def instances(kind: Any, special: Mapping[type, st.SearchStrategy[Any]] | None = None) -> st.SearchStrategy[Any]:
    """Arbitrary values of a type. `special` says how to make structs that check themselves, or hold what is not declared."""
    return _Builder(dict(special or {})).build(inspect.type_info(kind))


class _Builder:
    def __init__(self, special: dict[type, st.SearchStrategy[Any]]) -> None:
        self._special = special
        self._made: dict[type, st.SearchStrategy[Any]] = {}

    def build(self, info: inspect.Type) -> st.SearchStrategy[Any]:
        if type(info) in SCALARS:
            return SCALARS[type(info)]
        match info:
            case inspect.LiteralType(values=values):
                return st.sampled_from(values)
            case inspect.EnumType(cls=kind):
                assert issubclass(kind, enum.Enum)
                return st.sampled_from(list(kind))
            case inspect.UnionType(types=types):
                return st.one_of([self.build(each) for each in types])
            case inspect.VarTupleType(item_type=item):
                return st.lists(self.build(item), max_size=3).map(tuple)
            case inspect.TupleType(item_types=items):
                return st.tuples(*[self.build(each) for each in items])
            case inspect.DictType(key_type=key, value_type=value):
                return st.dictionaries(self.build(key), self.build(value), max_size=3)
            case inspect.FrozenSetType(item_type=item):
                return st.frozensets(self.build(item), max_size=3)
            case inspect.StructType(cls=kind):
                return self._struct(kind, info)
            case inspect.Metadata(type=inner):
                return self.build(inner)
            case _:
                raise NotImplementedError(f"{info}: give a strategy in `special`")

    def _struct(self, kind: type, info: inspect.StructType) -> st.SearchStrategy[Any]:
        if kind in self._special:
            return self._special[kind]
        if kind not in self._made:
            self._made[kind] = st.deferred(lambda: self._fields(kind, info))
        return self._made[kind]

    def _fields(self, kind: type, info: inspect.StructType) -> st.SearchStrategy[Any]:
        return st.builds(kind, **{field.name: self.build(field.type) for field in info.fields})


def undeclared(kind: type[msgspec.Struct]) -> list[str]:
    """The paths of fields, at any depth, whose type is not declared (`Any`, `object`)."""
    found: list[str] = []
    seen: set[type] = set()

    def walk(info: Any, path: str) -> None:
        match info:
            case inspect.AnyType():
                found.append(path)
            case inspect.StructType(cls=struct, fields=fields):
                if struct not in seen:
                    seen.add(struct)
                    for field in fields:
                        walk(field.type, f"{path}.{field.name}")
            case inspect.UnionType(types=types) | inspect.TupleType(item_types=types):
                for each in types:
                    walk(each, path)
            case inspect.VarTupleType(item_type=inner) | inspect.ListType(item_type=inner):
                walk(inner, path)
            case inspect.DictType(key_type=key, value_type=value):
                walk(key, path)
                walk(value, path)

    walk(inspect.type_info(kind), kind.__name__)
    return found
