"""`dataclass` as of the standard library, only that a value's methods are not compiled before somebody calls them.

Nothing else may live here. The standard library writes and compiles up to seven methods for every value class while
it is imported: half of our start, for classes of which most are never used in one run. Import `dataclass` from here,
and what goes with it (`field`, `fields`, `replace`) from `dataclasses`: docs/adr/0015-lazy-values.md.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError, fields
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

__all__ = ["dataclass"]

Method = Callable[..., Any]
Writer = Callable[[type, str], Method]
"""Makes the method of this name for this class."""

_ORDER = {"__lt__": "<", "__le__": "<=", "__gt__": ">", "__ge__": ">="}
_LEFT_TO_THE_LIBRARY = {"init", "repr", "eq", "unsafe_hash", "weakref_slot"}
"""Options that no value needs: where one is given, all is as the standard library makes it."""


def lazy_dataclass(
    *, frozen: bool = False, slots: bool = False, order: bool = False, **others: bool
) -> Callable[[type], type]:
    """What `dataclasses.dataclass` does with the same options; late where the class is frozen and slotted.

    There is no `InitVar`, and a value class inherits only from others that were made here.
    """
    if frozen and slots and not _LEFT_TO_THE_LIBRARY & others.keys():
        return lambda cls: _value_class(cls, order=order, options=others)
    return lambda cls: dataclasses.dataclass(frozen=frozen, slots=slots, order=order, **others)(_documented(cls))


if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    dataclass = lazy_dataclass


def _value_class(cls: type, order: bool, options: Mapping[str, bool]) -> type:
    """`cls` again, with slots and fields now, and methods that wait. What the class itself defines, it keeps."""
    made: type = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, **options)(_documented(cls))
    late: dict[str, Writer] = {"__init__": _init, "__eq__": partial(_comparison, "=="), "__hash__": _hash}
    late |= {name: partial(_comparison, sign) for name, sign in _ORDER.items() if order}
    for name, write in late.items():
        if cls.__dict__.get(name) is None:
            setattr(made, name, _Late(made, name, write))
    for name, method in _SHARED.items():
        if name not in cls.__dict__:
            setattr(made, name, method)
    return made


def _documented(cls: type) -> type:
    """Without a docstring `dataclasses` asks `inspect` for a signature, which costs more than all the rest."""
    cls.__doc__ = cls.__doc__ or cls.__name__
    return cls


class _Late:
    """Stands where a method will be. Whoever looks it up has it compiled, and put into this place."""

    def __init__(self, owner: type, name: str, write: Writer) -> None:
        self._owner, self._name, self._write = owner, name, write

    def __get__(self, instance: object, kind: type | None = None) -> Any:
        method = self._write(self._owner, self._name)
        method.__qualname__ = f"{self._owner.__qualname__}.{self._name}"
        setattr(self._owner, self._name, method)  # twice, if two threads come at once: the same method
        return method.__get__(instance, kind)


def _init(cls: type, name: str) -> Method:
    found = fields(cls)
    names: dict[str, Any] = {"MISSING": MISSING}
    body = []
    for field in found:
        names[f"set_{field.name}"] = getattr(cls, field.name).__set__  # its slot's, which `__setattr__` cannot refuse
        names[f"default_{field.name}"] = field.default
        names[f"make_{field.name}"] = field.default_factory
        body.append(f"set_{field.name}(self, {_first_value(field)})")
    if hasattr(cls, "__post_init__"):
        body.append("self.__post_init__()")
    positional = [_parameter(field) for field in found if field.init and not field.kw_only]
    by_name = [_parameter(field) for field in found if field.init and field.kw_only]
    method = _compiled(cls, name, ["self", *positional, *(["*"] if by_name else []), *by_name], body, names)
    method.__annotations__ = {field.name: field.type for field in found if field.init} | {"return": None}
    return method


def _parameter(field: Field[Any]) -> str:
    if field.default is not MISSING:
        return f"{field.name}=default_{field.name}"
    return field.name if field.default_factory is MISSING else f"{field.name}=MISSING"


def _first_value(field: Field[Any]) -> str:
    if field.default_factory is MISSING:
        return field.name if field.init else f"default_{field.name}"
    made = f"make_{field.name}()"
    return f"{made} if {field.name} is MISSING else {field.name}" if field.init else made


def _comparison(sign: str, cls: type, name: str) -> Method:
    body = [
        "if other.__class__ is not self.__class__: return NotImplemented",
        f"return {_compared(cls, 'self')} {sign} {_compared(cls, 'other')}",
    ]
    return _compiled(cls, name, ["self", "other"], body, {})


def _hash(cls: type, name: str) -> Method:
    return _compiled(cls, name, ["self"], [f"return hash({_compared(cls, 'self')})"], {})


def _compared(cls: type, of: str) -> str:
    """The tuple of what counts in a comparison."""
    return f"({''.join(f'{of}.{field.name},' for field in fields(cls) if field.compare)})"


def _compiled(cls: type, name: str, parameters: Sequence[str], body: Sequence[str], names: Mapping[str, Any]) -> Method:
    """A method that knows `names`, and for the rest what the module of its class knows."""
    head = f"def make({', '.join(names)}):\n def {name}({', '.join(parameters)}):\n  "
    scope: dict[str, Any] = {}
    exec(head + "\n  ".join(body or ["pass"]) + f"\n return {name}", vars(sys.modules[cls.__module__]), scope)
    method: Method = scope["make"](**names)
    return method


def _repr(self: Any) -> str:
    shown = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if field.repr)
    return f"{self.__class__.__qualname__}({shown})"


def _refuse_to_set(self: object, name: str, value: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _refuse_to_delete(self: object, name: str) -> NoReturn:
    raise FrozenInstanceError(f"cannot delete field {name!r}")


def _state(self: Any) -> list[Any]:
    """For `copy` and `pickle`, which otherwise would assign."""
    return [getattr(self, field.name) for field in fields(self)]


def _restore(self: Any, state: list[Any]) -> None:
    for field, value in zip(fields(self), state, strict=True):
        object.__setattr__(self, field.name, value)


_SHARED: dict[str, Method] = {
    "__repr__": _repr,
    "__setattr__": _refuse_to_set,
    "__delattr__": _refuse_to_delete,
    "__getstate__": _state,
    "__setstate__": _restore,
}
