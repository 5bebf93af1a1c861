"""Links that another hand made and that are Windrow's since: what is kept of it, for the day they are given back."""

from __future__ import annotations

from windrow.model.lazy import dataclass
from windrow.model.values import IfName, Ref


@dataclass(frozen=True, slots=True, kw_only=True)
class AdoptedLink:
    """A link that is to be Windrow's: its own name, what it will be called, and the link group that it is in now. `at`:
    when it was marked, in Unix seconds; 0: nobody wrote that down."""

    link: IfName
    name: IfName
    group: int = 0
    at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopted:
    """What was adopted on this host, and the objects that were made for it."""

    marked: tuple[AdoptedLink, ...] = ()
    objects: tuple[Ref, ...] = ()

    def beside(self, other: Adopted) -> Adopted:
        """Both; of a link or object that is in both, it counts once, as this one has it."""
        known = {one.name for one in self.marked}
        return Adopted(
            marked=(*self.marked, *(one for one in other.marked if one.name not in known)),
            objects=tuple(dict.fromkeys((*self.objects, *other.objects))),
        )
