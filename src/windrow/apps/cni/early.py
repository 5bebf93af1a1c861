"""What a call's process does without: modules of the standard library that are dear to load, and hardly used.

`main` begins with it. Each stands in `sys.modules` until somebody really uses it; what others ask of it merely by being
imported, it knows (`load_when_used`). Only where a process does one call and ends: nothing here is for the server.
"""

from __future__ import annotations

import sys

from windrow.model.lazymodule import load_when_used, loaded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Form:
    """Anything of `typing` that stands in an annotation, which here is a text that nobody reads, or as a base class."""

    def __class_getitem__(cls, _: object) -> type[_Form]:
        return cls


class _Pattern:
    """A regular expression, compiled when it is used. Most of them are for what others wrote, or for mistakes."""

    def __init__(self, pattern: str | bytes, flags: int = 0) -> None:
        self._source = pattern, flags

    def __getattr__(self, name: str) -> Any:
        found = getattr(loaded("re").compile(*self._source), name)
        setattr(self, name, found)
        return found

    def match(self, *of: Any) -> Any:
        """Apart from the others: `json.decoder` takes it while it is loaded."""
        return self.__getattr__("match")(*of)  # which puts the real one before this


def spare() -> None:
    """Before anything else is imported."""
    import _collections  # type: ignore[import-not-found]
    import _collections_abc
    import _operator
    import _warnings

    if "collections" not in sys.modules:  # the real one has the other, too, as soon as somebody asks for that
        sys.modules["collections.abc"] = _collections_abc
        load_when_used("collections", abc=_collections_abc, deque=_collections.deque, namedtuple=_namedtuple)
    load_when_used("operator", attrgetter=_operator.attrgetter)
    load_when_used("reprlib", recursive_repr=_recursive_repr)
    load_when_used("fnmatch")
    # What the interpreter looks at when a socket is forgotten, to find that nobody wants to hear of it.
    warned = {"filters": _warnings.filters, "defaultaction": _warnings._defaultaction}
    load_when_used("warnings", **warned, onceregistry=_warnings._onceregistry)
    load_when_used("inspect")
    load_when_used("copy")
    load_when_used(
        "typing",
        TYPE_CHECKING=False,
        NewType=lambda _, base: base,
        TypeVar=lambda *_, **__: _Form,
        **dict.fromkeys(("Any", "Literal", "NoReturn", "Protocol"), _Form),
    )
    load_when_used("re", compile=_Pattern, VERBOSE=64, MULTILINE=8, DOTALL=16)
    load_when_used("urllib.parse", quote_from_bytes=_quote_from_bytes)


def _namedtuple(name: str, *of: Any, **more: Any) -> Any:
    """`functools` makes one while it is loaded, for whoever asks a cache how it is doing."""

    def made() -> Any:
        return loaded("collections").namedtuple(name, *of, **more)

    return (lambda *values: made()(*values)) if name == "CacheInfo" else made()


def _recursive_repr(*of: Any) -> Any:
    """`functools` takes it while it is loaded, for a class that is written in C after all."""

    def decorate(method: Any) -> Any:
        real: list[Any] = []

        def late(one: Any) -> Any:
            if not real:
                real.append(loaded("reprlib").recursive_repr(*of)(method))
            return real[0](one)

        return late

    return decorate


def _quote_from_bytes(*of: Any) -> Any:
    """`pathlib` takes it while it is loaded, for addresses of files (`as_uri`)."""
    return loaded("urllib.parse").quote_from_bytes(*of)
