"""Value classes whose methods are compiled late are what the standard library's are, made from the same lines."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import operator
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import FrozenInstanceError, field, fields, replace
from typing import Any, ClassVar

import pytest

from windrow.model import lazy


def classes(dataclass: Callable[..., Any]) -> dict[str, type]:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Base:
        """With a docstring."""

        kind: ClassVar[str] = "base"
        name: str

    @dataclass(frozen=True, slots=True, kw_only=True)
    class ByName(Base):
        mtu: int = 1500
        vids: tuple[int, ...] = ()
        options: dict[str, int] = field(default_factory=dict)
        source: str = field(default="", compare=False, repr=False)
        marks: list[str] = field(init=False, default_factory=list, compare=False)

        @property
        def jumbo(self) -> bool:
            return self.mtu > 1500

    @dataclass(frozen=True, slots=True)
    class ByPosition:
        name: str
        number: int = 0
        note: str = field(default="", kw_only=True)

        def __post_init__(self) -> None:
            if self.number < 0:
                raise ValueError("negative")

        def __str__(self) -> str:
            return f"{self.name}/{self.number}"

    @dataclass(frozen=True, slots=True, order=True)
    class Ordered:
        first: str
        second: int

    @dataclass(frozen=True, slots=True)
    class Empty:
        pass

    @dataclass(frozen=True, slots=True)
    class Own:
        name: str

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Own) and self.name.lower() == other.name.lower()

        def __hash__(self) -> int:
            return 7

        def __repr__(self) -> str:
            return "<own>"

    return {cls.__name__: cls for cls in (Base, ByName, ByPosition, Ordered, Empty, Own)}


LATE, LIBRARY = classes(lazy.dataclass), classes(dataclasses.dataclass)
CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Base", (), {"name": "a"}),
    ("ByName", (), {"name": "a"}),
    ("ByName", (), {"name": "a", "mtu": 9000, "vids": (2, 3), "source": "x"}),
    ("ByName", (), {"name": "b", "options": {"x": 1}}),
    ("ByPosition", ("a",), {}),
    ("ByPosition", ("a", 3), {"note": "n"}),
    ("ByPosition", (), {"name": "a", "number": 4}),
    ("Ordered", ("a", 1), {}),
    ("Ordered", ("a", 2), {}),
    ("Empty", (), {}),
    ("Own", ("A",), {}),
    ("Own", ("a",), {}),
]
WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("Base", (), {}),
    ("Base", ("a",), {}),
    ("ByName", (), {"name": "a", "marks": []}),
    ("ByName", (), {"name": "a", "nonsense": 1}),
    ("ByPosition", ("a", 1, "note"), {}),
    ("ByPosition", ("a", -1), {}),
    ("Ordered", ("a",), {}),
]


def made(where: dict[str, type]) -> list[Any]:
    return [where[name](*args, **kwargs) for name, args, kwargs in CALLS]


@pytest.mark.parametrize("of", [repr, str, lambda v: dataclasses.asdict(v), lambda v: dataclasses.astuple(v)])
def test_each_value_says_the_same(of: Callable[[Any], object]) -> None:
    assert [of(value) for value in made(LATE)] == [of(value) for value in made(LIBRARY)]


def test_each_value_has_the_same_attributes() -> None:
    """`__weakref__` apart: up to Python 3.11.4 the library leaves one behind that has no slot."""
    for late, library in zip(made(LATE), made(LIBRARY), strict=True):
        assert set(dir(late)) - {"__weakref__"} == set(dir(library)) - {"__weakref__"}


@pytest.mark.parametrize("op", [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge])
def test_each_pair_compares_the_same(op: Callable[[Any, Any], object]) -> None:
    def table(values: list[Any]) -> list[object]:
        return [attempt(lambda a=a, b=b: op(a, b)) for a in values for b in [*copy.deepcopy(values), 7]]

    found = table(made(LATE))
    assert found == table(made(LIBRARY))
    assert True in found


def test_equal_values_have_equal_hashes_and_a_mutable_part_has_none() -> None:
    def hashes(where: dict[str, type]) -> list[object]:
        return [attempt(lambda value=value: hash(value)) for value in made(where)]

    assert hashes(LATE) == hashes(LIBRARY)


@pytest.mark.parametrize(("name", "args", "kwargs"), WRONG)
def test_a_wrong_call_is_refused_in_the_same_words(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    refused = attempt(lambda: LATE[name](*args, **kwargs))
    assert refused == attempt(lambda: LIBRARY[name](*args, **kwargs))
    assert isinstance(refused, str)


@pytest.mark.parametrize("name", sorted(LATE))
def test_the_class_looks_the_same_from_outside(name: str) -> None:
    late, library = LATE[name], LIBRARY[name]
    assert inspect.get_annotations(late.__init__) == inspect.get_annotations(library.__init__)
    assert [(p.name, p.kind) for p in inspect.signature(late).parameters.values()] == [
        (p.name, p.kind) for p in inspect.signature(library).parameters.values()
    ]
    assert [(f.name, f.type, f.default, f.kw_only) for f in fields(late)] == [
        (f.name, f.type, f.default, f.kw_only) for f in fields(library)
    ]
    for attribute in ("__slots__", "__match_args__", "__qualname__", "__module__"):
        assert getattr(late, attribute) == getattr(library, attribute)


@pytest.mark.parametrize("value", made(LATE), ids=repr)
def test_nothing_can_be_set_or_deleted(value: Any) -> None:
    for name in [f.name for f in fields(value)] or ["x"]:
        with pytest.raises(FrozenInstanceError, match=name):
            setattr(value, name, 1)
        with pytest.raises(FrozenInstanceError, match=name):
            delattr(value, name)
    with pytest.raises((FrozenInstanceError, AttributeError)):
        value.nonsense = 1


def test_replace_makes_another_and_leaves_the_first() -> None:
    first = LATE["ByName"](name="a", vids=(2,))
    second = replace(first, mtu=9000)
    assert (first.mtu, second.mtu, second.vids, second.jumbo) == (1500, 9000, (2,), True)
    assert first.options is not LATE["ByName"](name="a").options


def test_match_takes_fields_by_position() -> None:
    match made(LATE)[5]:
        case object(name="a", number=number):
            assert number == 3
        case _:
            pytest.fail("does not match")
    assert LATE["ByPosition"].__match_args__ == ("name", "number")  # type: ignore[attr-defined]


def test_fields_are_the_librarys() -> None:
    """The first one has a ClassVar and is left to the library, and so is what inherits from it; the others are not."""
    for name, library in LIBRARY.items():
        shown = [repr(one) for one in fields(library)]
        assert [repr(one) for one in fields(LATE[name])] == shown
        assert vars(LATE[name])["__slots__"] == vars(library)["__slots__"]
    assert {name for name, cls in LATE.items() if cls in lazy._made} == set(LATE) - {"Base", "ByName"}


def test_what_is_made_here_inherits_as_the_librarys_does() -> None:
    def made(dataclass: Callable[..., Any]) -> type:
        @dataclass(frozen=True, slots=True, kw_only=True)
        class First:
            name: str
            size: int = 1
            tags: list[str] = field(default_factory=list)

        @dataclass(frozen=True, slots=True, kw_only=True)
        class Second(First):
            size: int = 2
            instance: str = "i"

        found: type = Second
        return found

    late, library = made(lazy.dataclass), made(dataclasses.dataclass)
    assert late in lazy._made
    assert vars(late)["__slots__"] == vars(library)["__slots__"] == ("instance",)
    for more in ({}, {"size": 3}, {"tags": ["a"]}, {"instance": "x"}):
        one, two = late(name="n", **more), library(name="n", **more)
        assert repr(one) == repr(two)
        assert dataclasses.asdict(one) == dataclasses.asdict(two)
        assert replace(one, size=9) == late(name="n", **more | {"size": 9})


def test_a_mistake_in_a_class_is_told_when_it_is_made() -> None:
    def mutable(dataclass: Callable[..., Any]) -> None:
        @dataclass(frozen=True, slots=True)
        class Wrong:
            names: list[str] = []  # noqa: RUF012 - the mistake

    def without_type(dataclass: Callable[..., Any]) -> None:
        @dataclass(frozen=True, slots=True)
        class Wrong:
            names = field(default="")

    def slotted(dataclass: Callable[..., Any]) -> None:
        @dataclass(frozen=True, slots=True)
        class Wrong:
            __slots__ = ("name",)
            name: str

    for make in (mutable, without_type, slotted):
        found = attempt(lambda make=make: make(lazy.dataclass))  # type: ignore[misc]
        assert found == attempt(lambda make=make: make(dataclasses.dataclass))  # type: ignore[misc]
        assert found is not None


@lazy.dataclass(frozen=True, slots=True, kw_only=True)
class Pickled:
    name: str
    inner: tuple[Pickled, ...] = ()


def test_copies_and_pickles_are_equal() -> None:
    value = Pickled(name="a", inner=(Pickled(name="b"),))
    for other in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert other == value
        assert other is not value


def test_no_method_is_compiled_before_it_is_called_and_then_once() -> None:
    def compiled(cls: type) -> set[str]:
        names = ("__init__", "__eq__", "__hash__", "__lt__")
        return {name for name in names if inspect.isfunction(vars(cls)[name])}

    cls = classes(lazy.dataclass)["Ordered"]
    assert compiled(cls) == set()
    one, two = cls("a", 1), cls("a", 2)
    assert compiled(cls) == set()
    for number in range(lazy._FEW):
        assert cls("a", number).second == number  # type: ignore[attr-defined]
    assert compiled(cls) == {"__init__"}
    assert one != two
    assert one < two  # type: ignore[operator]
    assert hash(one) != hash(two)
    assert compiled(cls) == {"__init__", "__eq__", "__lt__", "__hash__"}
    method = vars(cls)["__init__"]
    cls("b", 1)
    assert vars(cls)["__init__"] is method


def test_threads_that_need_a_method_at_the_same_time_all_get_it() -> None:
    for _ in range(50):
        cls, barrier, found = classes(lazy.dataclass)["ByPosition"], threading.Barrier(4), []

        def run(cls: type = cls, barrier: threading.Barrier = barrier, found: list[object] = found) -> None:
            barrier.wait()
            found.append(cls("a", 1))

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [cls("a", 1)] * 4


def test_what_is_not_a_value_is_the_librarys() -> None:
    @lazy.dataclass(slots=True)
    class Mutable:
        name: str

    one = Mutable("a")
    one.name = "b"
    assert one == Mutable("b")
    assert inspect.isfunction(vars(Mutable)["__init__"])


def test_a_mutable_default_is_refused_where_the_class_is_written() -> None:
    with pytest.raises(ValueError, match="mutable default"):

        @lazy.dataclass(frozen=True, slots=True)
        class _Wrong:
            names: list[str] = []  # noqa: RUF012


def test_a_value_without_a_docstring_has_one() -> None:
    @lazy.dataclass(slots=True)
    class Mutable:
        name: str

    assert Mutable.__doc__ == "Mutable"
    assert LATE["Empty"].__doc__ == "Empty"
    assert LATE["Base"].__doc__ == "With a docstring."


INSPECT_LATE = """
import sys
from windrow.model.lazymodule import load_when_used
load_when_used("inspect")
import inspect
from windrow.model.lazy import dataclass

@dataclass(frozen=True, slots=True)
class Value:
    name: str

@dataclass(slots=True)
class Mutable:
    name: str

Value("a") == Value("b"), Mutable("a")
assert "ast" not in sys.modules, "inspect was loaded"
load_when_used("inspect")
assert inspect.unwrap(len) is len
assert "ast" in sys.modules
from inspect import signature
assert str(signature(Value)) == "(name: str) -> None", signature(Value)
assert sys.modules["inspect"].__file__.endswith("inspect.py")
load_when_used("inspect")
import inspect
assert inspect.unwrap is sys.modules["inspect"].unwrap
"""


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="dataclasses asks inspect about every class with slots")
def test_inspect_is_loaded_when_it_is_used_and_then_is_the_real_one() -> None:
    done = subprocess.run([sys.executable, "-I", "-c", INSPECT_LATE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def attempt(run: Callable[[], object]) -> object:
    """What it returns; of an error, its words without the names of the functions around the class."""
    try:
        return run()
    except (TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


@lazy.dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    name: str


@lazy.dataclass(frozen=True, slots=True, kw_only=True)
class Square(Shape):
    size: int = 1
    marks: tuple[str, ...] = ()


@lazy.dataclass(frozen=True, slots=True)
class Bounded:
    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("negative")


@pytest.mark.parametrize("first", [Shape(name="a"), Square(name="b", marks=("x",))])
def test_many_values_are_replaced_as_the_library_does(first: Any) -> None:
    """Also once their class copies them itself, after some tens; what it inherits is copied, too."""
    for number in range(100):
        found = lazy.replace(first, name=str(number))
        assert type(found) is type(first)
        assert found == replace(first, name=str(number)) and hash(found) == hash(replace(first, name=str(number)))
        assert repr(found) == repr(replace(first, name=str(number)))
        with pytest.raises(FrozenInstanceError):
            found.name = "c"
        with pytest.raises(TypeError, match="unexpected keyword argument 'nope'"):
            lazy.replace(first, nope=1)
    assert first.name in "ab"


def test_what_checks_its_values_goes_on_checking_them() -> None:
    for _ in range(100):
        with pytest.raises(ValueError, match="negative"):
            lazy.replace(Bounded(1), size=-1)
