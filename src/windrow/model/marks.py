"""The two marks of a link that Windrow made: its group, and an alternative name that says what it is called.

The group is in the create message itself, so that a crash leaves nothing unmarked; but it is a number that anybody may
set, and it does not say which link of ours this is. The alternative name (IFLA_ALT_IFNAME) comes right after it. It
stays when the link is renamed, no second link can have it, and nobody gives such a name by chance. Either mark is
enough to know a link by; a plan puts the other one back. Who means to take a link away from Windrow removes both.

A link that somebody else made under a name of his own keeps that name when it is adopted: before Linux 6.2 the kernel
renames a link only while it is down (`dev_change_name`). It also goes by the name that it has here, as a third
alternative name, and by that one everything of Windrow's speaks of it (`called`).
"""

from __future__ import annotations

from collections.abc import Iterable

from windrow.model.values import OWNER_GROUP, PORT_GROUP, IfName

_PREFIX = "made-by-windrow."
"""Longer than a name may be (IFNAMSIZ): it can stand in the way of no link."""


def mark_of(name: str) -> str:
    """`oob-br` -> `made-by-windrow.oob-br`."""
    return f"{_PREFIX}{name}"


def marked_names(altnames: Iterable[str]) -> list[IfName]:
    """The names for which a link with these alternative names was made: none or one, more only by somebody's hand."""
    return [IfName(one.removeprefix(_PREFIX)) for one in altnames if one.startswith(_PREFIX)]


def called(name: str, altnames: Iterable[str]) -> IfName:
    """What Windrow calls a link: the name that it was adopted for, where it goes by that one, too; else its own."""
    names = tuple(altnames)
    return next((made_for for made_for in marked_names(names) if made_for in names), IfName(name))


def is_marked(name: str, group: int, altnames: Iterable[str]) -> bool:
    """Whether it bears both marks, and they say this name; a port of a CNI call has one, its group."""
    return group == PORT_GROUP or (group == OWNER_GROUP and marked_names(altnames) == [name])
