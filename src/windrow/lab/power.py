"""Power of a node: cut it, and boot it again. Of a node without power there are its disk and its cards.

A node's processes die, its machines with them, all links that it made are gone with its namespace, its /run is empty.
Its cards lie in a namespace of their own meanwhile, and their switches see no carrier. At boot they come back as the
kernel finds them: down, with their own MAC, and under another name where one was given (`rename`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from windrow.lab.errors import LabError
from windrow.lab.scenario import End, Node, Scenario, mac_of
from windrow.model.values import MTU_DEFAULT, parse_ifname
from windrow.netlink import links, netns
from windrow.netlink.observe import dump_links
from windrow.netlink.sock import Rtnl
from windrow.services import process

if TYPE_CHECKING:
    from windrow.lab.vm.fleet import Fleet


class Nodes(Protocol):
    """Of a lab, what it takes to end a node and to begin it again: `world.World` is one."""

    @property
    def scenario(self) -> Scenario: ...

    def rtnl(self, place: str) -> Rtnl: ...
    @property
    def fleet(self) -> Fleet: ...

    def root(self, node: str) -> Path: ...
    def shut(self, place: str) -> None: ...
    def reopen(self, place: str) -> int: ...
    def build_node(self, node: Node) -> None: ...
    def start_node(self, node: str) -> None: ...


class Power:
    def __init__(self, world: Nodes) -> None:
        self._world = world
        self._off: dict[str, int] = {}
        """Node -> the namespace in which its cards lie."""
        self._names: dict[str, dict[str, str]] = {}

    def close(self) -> None:
        for fd in self._off.values():
            os.close(fd)

    def names(self, node: str) -> Mapping[str, str]:
        """What the kernel calls the cards now, where that is not what the scenario calls them."""
        return self._names.get(node, {})

    def cut(self, node: str) -> None:
        """At once, whatever it does. Raises LabError."""
        found = self._node(node)
        if node in self._off:
            raise LabError(f"{node} has no power already", hint=f"windrow lab boot {node}")
        process.end_in_netns(os.stat(netns.RUN_NETNS / node).st_ino, patience_s=0)
        self._world.fleet.cut(node)
        park = netns.new()
        rtnl = self._world.rtnl(node)
        rtnl.run(*(links.set_link(self.names(node).get(nic, nic), netns_fd=park) for nic in found.nics))
        self._off[node] = park
        self._world.shut(node)
        shutil.rmtree(self._world.root(node) / "run", ignore_errors=True)

    def boot(self, node: str) -> None:
        """The kernel, its cards, the management network as the operating system makes it, and what that starts. Raises
        LabError, ServiceError."""
        found = self._node(node)
        if node not in self._off:
            raise LabError(f"{node} has power", hint=f"windrow lab power-cut {node}")
        park = self._off.pop(node)
        inside = self._world.reopen(node)
        with netns.opened_in(park, Rtnl) as rtnl:
            for nic in found.nics:
                self._insert(rtnl, End(node, nic), inside)
        os.close(park)
        self._world.build_node(found)
        self._world.start_node(node)

    def rename(self, node: str, old: str, new: str) -> None:
        """The kernel calls a card otherwise: from now on, or from the next boot where the node has no power.

        `old`: as the scenario, or the kernel, calls it. Raises LabError.
        """
        found = self._node(node)
        names = self._names.setdefault(node, {})
        nic = next((n for n in found.nics if old in (n, names.get(n))), None)
        if nic is None:
            raise LabError(f"{node} has no NIC {old}", hint=f"it has {', '.join(found.nics)}")
        try:
            parse_ifname(new)
        except ValueError as error:
            raise LabError(str(error)) from error
        before = names.get(nic, nic)
        if node not in self._off:
            rtnl = self._world.rtnl(node)
            # Before 6.2 the kernel renames only what is down (`dev_change_name`).
            rtnl.run(
                links.set_link(before, up=False),
                links.rename(rtnl.index(before), before, new),
                links.set_link(new, up=True),
            )
        names[nic] = new

    def _node(self, node: str) -> Node:
        found = self._world.scenario.node(node)
        if found is None:
            known = ", ".join(n.name for n in self._world.scenario.nodes)
            raise LabError(f"there is no node {node}", hint=f"there are {known}")
        return found

    def _insert(self, rtnl: Rtnl, card: End, inside: int) -> None:
        """A card out of its park, under its name of today. What it was called there does not matter."""
        mac, name = mac_of(card), self.names(card.device).get(card.port, card.port)
        raw = next(raw for raw in dump_links(rtnl) if raw.attrs.get("mac") == mac)
        if raw.attrs["name"] != name:
            rtnl.run(links.rename(raw.ifindex, raw.attrs["name"], name))
        rtnl.run(links.set_link(name, mtu=MTU_DEFAULT), links.set_link(name, netns_fd=inside))
