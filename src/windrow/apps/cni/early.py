"""What a call's process does without: modules of the standard library that are dear to load, and hardly used.

`main` begins with it. Each stands in `sys.modules` until somebody really uses it; what others ask of it merely by being
imported, it knows (`load_when_used`). Only where a process does one call and ends: nothing here is for the server.
"""

from __future__ import annotations

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


def _quote_from_bytes(*of: Any) -> Any:
    """`pathlib` takes it while it is loaded, for addresses of files (`as_uri`)."""
    return loaded("urllib.parse").quote_from_bytes(*of)
