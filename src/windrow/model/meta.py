"""What all kinds of objects share: metadata, where the document stands, and how an object is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, ClassVar

from windrow.model import names
from windrow.model.lazy import dataclass
from windrow.model.values import Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    name: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    deleting: bool = False
    """It has a deletionTimestamp: it goes as soon as the last finalizer does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a document stands: its file, and the line of each path in it (`spec.uplink.nics[1]` -> 14)."""

    file: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)
    text: str = ""
    """The document as it was written, where it has comments: whoever stores the object keeps them."""

    def line(self, path: str) -> int | None:
        """The line of `path`, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines.get(path)


def _inside(path: str, outer: str) -> bool:
    """Whether `spec.uplink.nics[1]` is in `spec.uplink`; everything is in the document itself."""
    return not outer or path == outer or path.startswith((f"{outer}.", f"{outer}["))


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """What all kinds share."""

    KIND: ClassVar[str]
    API_VERSION: ClassVar[str] = names.API_VERSION
    OLDER_VERSIONS: ClassVar[tuple[str, ...]] = ()
    """Other API versions with the same fields, that whoever serves the kind still takes."""
    NAMESPACED: ClassVar[bool] = False

    meta: Meta
    doc: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    source: Source = field(default_factory=Source, compare=False, repr=False)
    doubts: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """Paths whose values could not be read; the fields made from them have placeholders. Such an object counts as a
    neighbour of others by the rest, and is never carried out."""

    def knows(self, path: str) -> bool:
        """Whether the value at `path`, and all that is in it, was read."""
        return not self.doubts or not any(_inside(doubt, path) or _inside(path, doubt) for doubt in self.doubts)

    @property
    def name(self) -> str:
        return self.meta.name

    @property
    def ref(self) -> Ref:
        return Ref(self.KIND, self.meta.name, self.meta.namespace if self.NAMESPACED else "")
