"""The table of docs/user/drift.md is the table of the code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path

from windrow.model.bonding import OPTIONS
from windrow.model.host import LinkFlags
from windrow.netlink.attributes import SPACES, Space
from windrow.plan.mutability import TABLE

PAGE = Path(__file__).parents[2] / "docs/user/drift.md"
BEGIN, END = "<!-- attributes -->\n", "<!-- end of attributes -->\n"


def test_the_page_has_the_table(golden: Callable[[Path, str], None]) -> None:
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    golden(PAGE, before + BEGIN + "\n".join(_tables()) + "\n" + END + after)


def _tables() -> Iterator[str]:
    for space in SPACES:
        yield f"\n### {space.title}\n"
        yield "| | kept | |\n|---|---|---|"
        yield from _rows(space)


def _rows(space: Space) -> Iterator[str]:
    """What is kept first; those that are left for one reason in one row."""
    for name, fate in space.rows.values():
        if fate.field:
            yield f"| `{space.prefix}{name}` | yes | `{fate.field}` |"
    reasons: dict[str, list[str]] = {}
    for name, fate in space.rows.values():
        if not fate.field and fate.why != "padding":
            reasons.setdefault(fate.why, []).append(f"`{name}`")
    for why, names in reasons.items():
        yield f"| {', '.join(names)} | no | {why} |"


def test_what_is_kept_is_what_a_plan_can_see() -> None:
    kept = {fate.field for space in SPACES for _, fate in space.rows.values() if fate.field}
    assert kept <= TABLE.keys()
    own_messages = {"link", "addrs", "neighbours", "fdb", "routes", "rules", "vlans", "self_vlans"}
    own_messages |= {"peers", "wireguard.port", "wireguard.key"}  # by generic netlink
    assert TABLE.keys() - kept == own_messages
    assert {f"bond.{name}" for name in OPTIONS} <= kept
    assert {f"flags.{f.name}" for f in fields(LinkFlags)} <= kept


def test_every_line_has_a_field_or_a_reason() -> None:
    assert all(bool(fate.field) != bool(fate.why) for space in SPACES for _, fate in space.rows.values())
