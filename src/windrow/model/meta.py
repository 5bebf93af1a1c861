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


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a document stands: its file, and the line of each path in it (`spec.uplink.nics[1]` -> 14)."""

    file: str = ""
    lines: Mapping[str, int] = field(default_factory=dict)

    def line(self, path: str) -> int | None:
        """The line of `path`, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines.get(path)


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

    @property
    def name(self) -> str:
        return self.meta.name

    @property
    def ref(self) -> Ref:
        return Ref(self.KIND, self.meta.name, self.meta.namespace if self.NAMESPACED else "")
