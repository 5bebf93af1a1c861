"""`dataclass` as of the standard library, only that a value's methods are not compiled before somebody calls them.

Nothing else may live here. The standard library writes and compiles up to seven methods for every value class while
it is imported: half of our start, for classes of which most are never used in one run. Import `dataclass` from here,
and what goes with it (`field`, `fields`, `replace`) from `dataclasses`: docs/adr/0015-lazy-values.md. Where thousands
of values are replaced at a time, `replace` is here, too.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, Field, FrozenInstanceError, fields
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

__all__ = ["dataclass", "replace"]

Method = Callable[..., Any]
Writer = Callable[[type, str], Method]
"""Makes the method of this name for this class."""

_ORDER = {"__lt__": "<", "__le__": "<=", "__gt__": ">", "__ge__": ">="}
_LEFT_TO_THE_LIBRARY = {"init", "repr", "eq", "unsafe_hash", "weakref_slot"}
"""Options that no value needs: where one is given, all is as the standard library makes it."""
_NO_FIELD = ("ClassVar", "InitVar", "KW_ONLY")
_FIELDS = "__dataclass_fields__"
"""Where `fields`, `replace` and `asdict` look."""
_FIELD = vars(dataclasses)["_FIELD"]
"""The library's mark of a field that is one, and no ClassVar."""
_made: set[type] = set()
_FEW = 32
"""So many values cost as much without a compiled method as compiling it (measured: 4 and 130 µs, CPython 3.11)."""
_PARAMS = dataclasses.dataclass(init=False, repr=False, eq=False)(type("_", (), {"__doc__": "_"})).__dataclass_params__  # type: ignore[attr-defined]


def lazy_dataclass(
    *, frozen: bool = False, slots: bool = False, order: bool = False, **others: bool
) -> Callable[[type], type]:
    """What `dataclasses.dataclass` does with the same options; late where the class is frozen and slotted.

    There is no `InitVar`, and a value class inherits only from others that were made here.
    """
    if frozen and slots and not _LEFT_TO_THE_LIBRARY & others.keys():
        return lambda cls: _value_class(cls, order=order, options=others)
    return lambda cls: dataclasses.dataclass(frozen=frozen, slots=slots, order=order, **others)(_documented(cls))


def replaced(value: Any, /, **changes: object) -> Any:
    """What `dataclasses.replace` returns: a value like this one, but for some fields. The library calls `__init__` with
    every field by name, which for a `Link` takes fifteen times as long as to copy it."""
    cls = value.__class__
    copier = _copiers.get(cls)
    if copier is None:
        copier = _copiers[cls] = _Copier(cls)
    return copier.copied(value, changes)


if TYPE_CHECKING:
    from dataclasses import dataclass, replace
else:
    dataclass, replace = lazy_dataclass, replaced


def _value_class(cls: type, order: bool, options: Mapping[str, bool]) -> type:
    """`cls` again, with slots and fields now, and methods that wait. What the class itself defines, it keeps."""
    _documented(cls)
    if _is_plain(cls, options):
        made = _slotted(cls, kw_only=options.get("kw_only", False))
    else:
        made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, **options)(cls)
    late: dict[str, Writer] = {"__eq__": partial(_comparison, "=="), "__hash__": _hash}
    late |= {name: partial(_comparison, sign) for name, sign in _ORDER.items() if order}
    for name, write in late.items():
        if cls.__dict__.get(name) is None:
            setattr(made, name, _Late(made, name, write))
    if cls.__dict__.get("__init__") is None:
        made.__init__ = _LateInit(made, "__init__", _init)  # type: ignore[misc]
    for name, method in _SHARED.items():
        if name not in cls.__dict__:
            setattr(made, name, method)
    return made


def _is_plain(cls: type, options: Mapping[str, bool]) -> bool:
    """Whether `_slotted` makes of it what the library would. Annotations are texts, with `from __future__ import
    annotations`; from Python 3.14 on a class has no more than a function that makes them."""
    texts = _annotations(cls).values()
    return (
        sys.version_info < (3, 14)
        and type(cls) is type
        and options.keys() <= {"kw_only"}
        and _made.issuperset(cls.__mro__[1:-1])
        and all(isinstance(text, str) and not any(word in text for word in _NO_FIELD) for text in texts)
    )


def _annotations(cls: type) -> Mapping[str, Any]:
    """Its own. `inspect.get_annotations` is dear to load."""
    found: Mapping[str, Any] = vars(cls).get("__annotations__", {})
    return found


def _slotted(cls: type, kw_only: bool) -> type:
    """`cls` again, with slots in the place of its fields. The library looks for each field with a regular expression
    whether it is one, and once more from the beginning for each class that inherits it."""
    own = _annotations(cls)
    inherited = {name: one for base in cls.__mro__[-2:0:-1] for name, one in base.__dict__[_FIELDS].items()}
    found = {name: _field(cls, name, text, kw_only) for name, text in own.items()}
    if "__slots__" in cls.__dict__:
        raise TypeError(f"{cls.__name__} already specifies __slots__")
    for name, value in cls.__dict__.items():
        if isinstance(value, Field) and name not in own:
            raise TypeError(f"{name!r} is a field but has no type annotation")
    every = inherited | found
    taken = {"__dict__", "__weakref__", *every}
    names = {name: value for name, value in cls.__dict__.items() if name not in taken}
    names["__slots__"] = tuple(name for name in every if name not in inherited)
    names[_FIELDS], names["__dataclass_params__"] = every, _PARAMS
    names.setdefault("__match_args__", tuple(name for name, one in every.items() if one.init and not one.kw_only))
    names["__qualname__"] = cls.__qualname__
    made = type(cls)(cls.__name__, cls.__bases__, names)
    _made.add(made)
    return made


def _field(cls: type, name: str, text: str, kw_only: bool) -> Any:
    default = cls.__dict__.get(name, MISSING)
    found: Any = default if isinstance(default, Field) else dataclasses.field(default=default)
    found.name, found.type = name, text
    found._field_type = _FIELD
    if found.kw_only is MISSING:
        found.kw_only = kw_only
    if found.default.__class__.__hash__ is None:
        raise ValueError(f"mutable default {type(found.default)} for field {name} is not allowed: use default_factory")
    return found


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


class _LateInit(_Late):
    """The first values of a class are made without compiling anything: few processes make many of most classes.

    What does not fit, the compiled one refuses, in the words that everybody knows.
    """

    def __init__(self, owner: type, name: str, write: Writer) -> None:
        super().__init__(owner, name, write)
        self._calls = 0
        self._fields: _Fields | None = None

    def __get__(self, instance: object, kind: type | None = None) -> Any:
        if instance is None or self._calls >= _FEW:
            return super().__get__(instance, kind)
        self._calls += 1
        return partial(self._fill, instance)

    def _fill(self, instance: object, /, *by_position: object, **by_name: object) -> None:
        if self._fields is None:
            self._fields = _Fields(vars(self._owner)[_FIELDS].values() if self._owner in _made else fields(self._owner))
        given = self._fields.given(by_position, by_name)
        if given is None:
            _Late.__get__(self, instance)(*by_position, **by_name)
            return
        for name, default, factory in self._fields.every:
            if name in given:
                value = given[name]
            elif factory is not MISSING:
                value = factory()
            else:
                value = default
            object.__setattr__(instance, name, value)
        if hasattr(self._owner, "__post_init__"):
            instance.__post_init__()  # type: ignore[attr-defined]


class _Copier:
    """Copies the values of a class, once many were wanted. It fills one of a class of the same shape, which does not
    refuse, and then makes it one of its own (`object_set_class`, which asks for the same slots and bases)."""

    def __init__(self, cls: type) -> None:
        """A class that checks its values, or computes some, has the library do all."""
        self._cls, self._calls = cls, 0
        self._copy: Callable[[object], object] | None = None
        self._names = {one.name for one in fields(cls) if one.init}
        self._plain = cls in _made and not hasattr(cls, "__post_init__") and len(self._names) == len(fields(cls))

    def copied(self, value: object, changes: Mapping[str, object]) -> object:
        self._calls += 1
        if not self._plain or self._calls < _FEW or not changes.keys() <= self._names:
            return dataclasses.replace(value, **changes)  # type: ignore[type-var]
        if self._copy is None:
            self._copy = _copy(self._cls)
        new = self._copy(value)
        for name, wanted in changes.items():
            setattr(new, name, wanted)
        new.__class__ = self._cls
        return new


_copiers: dict[type, _Copier] = {}


def _copy(cls: type) -> Method:
    """What copies a value of this class into one that can still be changed."""
    free = {"__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    shape = type(cls.__name__, cls.__bases__, {"__slots__": vars(cls)["__slots__"], **free})
    body = ["new = make(shape)", *(f"new.{field.name} = value.{field.name}" for field in fields(cls)), "return new"]
    return _compiled(cls, "copy", ["value"], body, {"make": object.__new__, "shape": shape})


class _Fields:
    """What `_LateInit` has to know of a class, looked up once."""

    def __init__(self, found: Collection[Field[Any]]) -> None:
        ours = [field for field in found if field.init]
        self.every: list[tuple[str, Any, Any]] = [(f.name, f.default, f.default_factory) for f in found]
        self._positional = [field.name for field in ours if not field.kw_only]
        self._names = {field.name for field in ours}
        self._needed = {f.name for f in ours if f.default is MISSING and f.default_factory is MISSING}

    def given(self, by_position: Sequence[object], by_name: Mapping[str, object]) -> Mapping[str, object] | None:
        """Name -> value; None where something is missing, or is not known."""
        first = dict(zip(self._positional, by_position, strict=False))
        given = {**first, **by_name}
        fits = len(by_position) <= len(self._positional) and len(given) == len(first) + len(by_name)
        return given if fits and self._needed <= given.keys() <= self._names else None


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
