"""Switches in memory, one for each system: they take statements as that system documents them, and refuse what it
refuses. What they hold in the end is what frames would meet.

They are as strict as the traps are known to be: an empty list that means all VLANs, a second row for a VLAN, a channel
that is deleted under its ports. A comment that says what is to be done by hand is done.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from windrow.model.values import VidSet
from windrow.switches.config import SwitchConfig
from windrow.switches.systems import SYSTEMS

ALL = frozenset(range(1, 4095))
Carries = tuple[frozenset[str], str, frozenset[int], int]
"""Ports, kind of channel, tagged VLANs, native VLAN."""


def wanted(config: SwitchConfig) -> dict[str, Carries]:
    return {i.name: (frozenset(i.members), i.channel.value, frozenset(i.tagged), i.native) for i in config.interfaces}


def vids(text: str) -> set[int]:
    return set() if text == "none" else set(VidSet.parse(text.replace(" ", ",")))


@dataclass
class Port:
    trunk: bool = False
    allowed: set[int] = field(default_factory=set)
    native: int = 1
    group: str = ""
    mode: str = ""
    rate: str = ""


class Machine:
    """`told` gets statements, as they are pasted; `carries` is what came of them."""

    def __init__(self, system: str, ports: Iterable[str]) -> None:
        self.system, self.format = system, SYSTEMS[system].channel
        self.physical = tuple(ports)
        self.ports: dict[str, Port] = {name: self.fresh(name) for name in ports}
        self.vlans: set[int] = {1}

    def fresh(self, name: str) -> Port:
        return Port()

    def told(self, text: str, beside: Iterable[str] = ()) -> None:
        for line in text.splitlines():
            self.line(line.strip())

    def line(self, line: str) -> None:
        raise NotImplementedError

    def carries(self) -> dict[str, Carries]:
        found: dict[str, Carries] = {}
        for name, port in self.ports.items():
            if not port.trunk or port.group:
                continue
            members = [m for m, p in self.ports.items() if p.group == name]
            tagged, native = self.passes(port)
            assert tagged <= self.vlans, f"{name} allows VLANs that are not created: {tagged - self.vlans}"
            modes = {self.ports[m].mode for m in members}
            assert len(modes) <= 1, f"{name} has members of two kinds"
            kind = modes.pop() if modes else "none"
            found[name] = (frozenset(members or [name]), kind, frozenset(tagged), native)
        return found

    def passes(self, port: Port) -> tuple[set[int], int]:
        return port.allowed - {port.native}, port.native if port.native in port.allowed else 0


class Cisco(Machine):
    """EOS and NX-OS: the native VLAN passes where it is allowed; OS10: it is the access VLAN, and never allowed."""

    at = ""

    def fresh(self, name: str) -> Port:
        return Port(allowed=set() if self.system == "dell-os10" else set(ALL))

    def passes(self, port: Port) -> tuple[set[int], int]:
        if self.system != "dell-os10":
            return super().passes(port)
        assert port.native not in port.allowed, "the access VLAN must not be in the list"
        return port.allowed, port.native

    def line(self, line: str) -> None:
        words = line.split()
        if not words or words[0] in ("!", "name", "description", "lldp", "feature", "mtu", "no_shutdown"):
            return
        match words:
            case ["vlan", vid]:
                self.vlans.add(int(vid))
            case ["interface", "vlan", vid]:
                self.vlans.add(int(vid))
                self.at = ""
            case ["interface", name]:
                assert name in self.ports or name not in self.physical
                self.ports.setdefault(name, self.fresh(name))
                self.at = name
            case ["default", "interface", name]:
                self.ports[name] = self.fresh(name)
            case ["no", "interface", name]:
                assert not any(p.group == name for p in self.ports.values()), f"{name} has members still"
                del self.ports[name]
            case ["no", "shutdown"] | ["switchport"] | ["spanning-tree", *_] | ["mlag" | "vpc" | "vlt-port-channel", _]:
                pass
            case _:
                self.port_line(self.ports[self.at], words)

    def port_line(self, port: Port, words: list[str]) -> None:
        match words:
            case ["switchport", "mode", "trunk"]:
                port.trunk = True
            case ["switchport", "trunk", "allowed", "vlan", "add", text]:
                port.allowed |= vids(text)
            case ["switchport", "trunk", "allowed", "vlan", "remove", text]:
                port.allowed -= vids(text)
                if self.system == "nxos" and not port.allowed:
                    port.allowed = set(ALL)
            case ["switchport", "trunk", "allowed", "vlan", text]:
                added = self.system == "dell-os10"
                port.allowed = vids(text) | (port.allowed if added else set())
                assert not added or port.native not in port.allowed, "the access VLAN must not be in the list"
            case ["no", "switchport", "trunk", "allowed", "vlan", text]:
                assert self.system == "dell-os10"
                port.allowed -= vids(text)
            case ["switchport", "trunk", "native", "vlan", text]:
                port.native = 0 if text == "tag" else int(text)
            case ["no", "switchport", "trunk", "native", "vlan"]:
                port.native = 1
            case ["switchport", "access", "vlan", text]:
                assert int(text) not in port.allowed, "the access VLAN must not be in the list"
                port.native = int(text)
            case ["no", "switchport", "access", "vlan"]:
                port.native = 0
            case ["no", "switchport"]:
                port.trunk = False
            case ["channel-group", number, *_, mode]:
                port.group, port.mode = self.format.format(number), {"active": "lacp", "on": "static"}[mode]
                assert port.group in self.ports
            case ["lacp", "rate" | "timer", rate]:
                port.rate = rate.replace("normal", "slow")
            case ["no", "lacp", "rate", "fast"]:
                port.rate = "slow"
            case _:
                raise AssertionError(f"no such statement: {words}")


class Junos(Machine):
    """Statements are a tree, which is committed whole: the order of `set` and `delete` is all there is."""

    def __init__(self, system: str, ports: Iterable[str]) -> None:
        super().__init__(system, ports)
        self.tree: dict[tuple[str, ...], None] = {}

    def line(self, line: str) -> None:
        words = shlex.split(line, comments=True)
        if not words:
            return
        verb, *path = words
        if "[" in path:
            at = path.index("[")
            for member in path[at + 1 : -1]:
                self.put(verb, (*path[:at], member))
        else:
            self.put(verb, tuple(path))

    def put(self, verb: str, path: tuple[str, ...]) -> None:
        one_value = ("vlan-id", "native-vlan-id", "mtu", "description", "periodic", "802.3ad", "device-count")
        if verb == "set":
            if len(path) > 1 and path[-2] in one_value:
                self.tree = {p: None for p in self.tree if p[:-1] != path[:-1]}
            self.tree[path] = None
        else:
            self.tree = {p: None for p in self.tree if p[: len(path)] != path}

    def under(self, *path: str) -> list[tuple[str, ...]]:
        return [p[len(path) :] for p in self.tree if p[: len(path)] == path]

    def carries(self) -> dict[str, Carries]:
        names = [p[0] for p in self.under("vlans")]
        self.vlans = {int(p[2]) for p in self.under("vlans")}
        assert len(names) == len(set(names)) == len(self.vlans), "a VLAN has one name, a name one VLAN"
        found: dict[str, Carries] = {}
        for name in dict.fromkeys(p[0] for p in self.under("interfaces")):
            if not self.under("interfaces", name, "unit", "0"):
                continue
            members = [p[0] for p in self.under("interfaces") if p[1:] == ("ether-options", "802.3ad", name)]
            if name.startswith("ae"):
                (count,) = self.under("chassis", "aggregated-devices", "ethernet", "device-count")
                assert int(name[2:]) < int(count[0]), f"{name} does not appear"
            lacp = bool(self.under("interfaces", name, "aggregated-ether-options", "lacp"))
            allowed: set[int] = set()
            for (text,) in self.under(
                "interfaces", name, "unit", "0", "family", "ethernet-switching", "vlan", "members"
            ):
                allowed |= vids(text)
            native = int((self.under("interfaces", name, "native-vlan-id") or [("0",)])[0][0])
            assert not native or native in allowed
            assert allowed <= self.vlans
            kind = "lacp" if lacp else "static" if members else "none"
            found[name] = (frozenset(members or [name]), kind, frozenset(allowed - {native}), native)
        return found


class Nvue(Machine):
    def __init__(self, system: str, ports: Iterable[str]) -> None:
        super().__init__(system, ports)
        self.set: dict[str, dict[str, Any]] = {}

    def line(self, line: str) -> None:
        words = shlex.split(line, comments=True)
        match words:
            case ["nv", "set", "bridge", "domain", "br_default", "vlan", text]:
                self.vlans |= vids(text)
            case ["nv", "unset", "interface", name]:
                del self.set[name]
            case ["nv", "set", "interface", name, *path]:
                self.put(self.set.setdefault(name, {}), path)
            case ["nv", "unset", "interface", name, *path]:
                self.take(self.set[name], path)
            case [] | ["nv", "config", _] | ["nv", "set", "bridge" | "service", *_]:
                pass
            case _:
                raise AssertionError(f"no such statement: {line}")

    def put(self, port: dict[str, Any], path: list[str]) -> None:
        match path:
            case ["bond", "member", text]:
                port.setdefault("members", set()).update(text.split(","))
            case ["bond", "mode", mode]:
                port["mode"] = mode
            case ["bridge", "domain", "br_default", "vlan", text]:
                port.setdefault("vlan", set()).update(vids(text))
            case ["bridge", "domain", "br_default", "untagged", text]:
                port["untagged"] = 0 if text == "none" else int(text)
            case ["bridge", "domain", "br_default", "stp", *_] | ["description" | "link", *_]:
                pass
            case ["bond", "lacp-rate" | "mlag", *_]:
                pass
            case _:
                raise AssertionError(path)

    def take(self, port: dict[str, Any], path: list[str]) -> None:
        match path:
            case ["bond", "member", text]:
                port["members"].remove(text)
            case ["bridge", "domain", "br_default", "vlan", text]:
                port["vlan"] -= vids(text)
            case ["bridge", "domain", "br_default"]:
                port.pop("vlan"), port.pop("untagged")
            case _:
                raise AssertionError(path)

    def carries(self) -> dict[str, Carries]:
        found: dict[str, Carries] = {}
        for name, port in self.set.items():
            members = port.get("members", {name})
            listed, native = port.get("vlan"), port.get("untagged")
            if listed is None and native is None:
                listed, native = set(), 0  # in no bridge
            else:
                listed = listed or set(ALL)
            assert native is not None, f"{name}: without `untagged` the native VLAN is the bridge's"
            assert listed <= self.vlans, f"{name} carries VLANs that are not created, or all of them"
            found[name] = (frozenset(members), port.get("mode", "none"), frozenset(listed - {native}), native)
        return found


class Sonic(Machine):
    def fresh(self, name: str) -> Port:
        return Port(native=0)

    def passes(self, port: Port) -> tuple[set[int], int]:
        return port.allowed, port.native

    def line(self, line: str) -> None:
        words = line.split()
        if not words or words[0] == "#":
            return
        assert words[0] == "config", line
        match words[1:]:
            case ["vlan", "add", vid]:
                self.vlans.add(int(vid))
            case ["portchannel", "add", name, "--fast-rate", _]:
                assert name not in self.ports and re.fullmatch(r"PortChannel[0-9]{1,4}", name)
                self.ports[name] = self.fresh(name)
            case ["portchannel", "del", name]:
                assert not any(p.group == name for p in self.ports.values())
                assert not self.ports[name].allowed and not self.ports[name].native
                del self.ports[name]
            case ["portchannel", "member", "add", name, member]:
                port = self.ports[member]
                assert not (port.trunk or port.allowed or port.native or port.group), f"{member} is in use"
                port.group, port.mode = name, "lacp"
            case ["portchannel", "member", "del", name, member]:
                assert self.ports[member].group == name
                self.ports[member] = self.fresh(member)
            case ["switchport", "mode", "trunk", name]:
                self.ports[name].trunk = True
            case ["switchport", "mode", "routed", name]:
                assert not self.ports[name].allowed and not self.ports[name].native
                self.ports[name].trunk = False
            case ["vlan", "member", "add", "-u", vid, name]:
                port = self.ports[name]
                assert port.trunk and not port.native and int(vid) not in port.allowed and int(vid) in self.vlans
                port.native = int(vid)
            case ["vlan", "member", "add", vid, name]:
                port = self.ports[name]
                assert port.trunk and int(vid) not in port.allowed | {port.native} and int(vid) in self.vlans
                port.allowed.add(int(vid))
            case ["vlan", "member", "del", vid, name]:
                port = self.ports[name]
                assert int(vid) in port.allowed | {port.native}
                if port.native == int(vid):
                    port.native = 0
                else:
                    port.allowed.remove(int(vid))
            case ["interface", "mtu", name, _]:
                assert not self.ports[name].group, f"{name} is in portchannel!"
            case ["spanning_tree", "interface", _, "enable", name]:
                assert not self.ports[name].group
            case ["save", "-y"]:
                pass
            case _:
                raise AssertionError(f"no such statement: {line}")


class Linux(Machine):
    """A bridge with a default PVID of 1 (net/bridge/br_vlan.c): a port gets VLAN 1 without a tag as it joins."""

    def __init__(self, system: str, ports: Iterable[str]) -> None:
        super().__init__(system, ports)
        self.vlans = set(ALL)
        self.bonds: dict[str, str] = {}

    def fresh(self, name: str) -> Port:
        return Port(native=0)

    def passes(self, port: Port) -> tuple[set[int], int]:
        return port.allowed, port.native

    def line(self, line: str) -> None:
        words = line.split()
        if not words or words[0] == "#":
            return
        match words:
            case ["ip", "link", "add", name, "type", "bond", "mode", mode, *_]:
                assert name not in self.ports
                self.ports[name] = self.fresh(name)
                self.bonds[name] = {"802.3ad": "lacp", "balance-xor": "static"}[mode]
            case ["ip", "link", "set", name, "master", "br0"]:
                assert not self.ports[name].group
                self.ports[name] = Port(trunk=True, native=1)
            case ["ip", "link", "set", name, "master", bond]:
                assert not self.ports[name].trunk, f"{name} is in the bridge"
                self.ports[name].group, self.ports[name].mode = bond, self.bonds[bond]
            case ["ip", "link", "set", name, "nomaster"]:
                assert self.ports[name].group or self.ports[name].trunk
                self.ports[name] = self.fresh(name)
            case ["ip", "link", "del", name]:
                del self.ports[name], self.bonds[name]
                assert not any(p.group == name for p in self.ports.values())
            case ["bridge", "vlan", "del", "dev", name, "vid", text]:
                port = self.ports[name]
                assert port.trunk and vids(text) <= port.allowed | {port.native}
                port.native = 0 if port.native in vids(text) else port.native
                port.allowed -= vids(text)
            case ["bridge", "vlan", "add", "dev", name, "vid", vid, "pvid", "untagged"]:
                port = self.ports[name]
                if port.native and port.native != int(vid):
                    port.allowed.add(port.native)  # it loses PVID, and leaves without a tag still: it has to go
                port.native = int(vid)
                port.allowed.discard(int(vid))
            case ["bridge", "vlan", "add", "dev", name, "vid", text]:
                port = self.ports[name]
                port.native = 0 if port.native in vids(text) else port.native
                port.allowed |= vids(text)
            case ["ip", "link", "set", _, "up" | "down"] | ["ip", "link", "set", _, "mtu" | "type", *_]:
                pass
            case ["bridge", "link", "set", "dev", name, "guard", "on"]:
                assert self.ports[name].trunk
            case _:
                raise AssertionError(f"no such statement: {line}")


class RouterOs(Machine):
    def __init__(self, system: str, ports: Iterable[str]) -> None:
        super().__init__(system, ports)
        self.rows: dict[int, dict[str, set[str]]] = {}
        self.bonds: dict[str, tuple[set[str], str]] = {}
        self.bridged: dict[str, dict[str, str]] = {}
        self.added: set[int] = set()
        """In one text."""

    def told(self, text: str, beside: Iterable[str] = ()) -> None:
        self.added.clear()
        super().told(text, beside)

    def line(self, line: str) -> None:
        if line.startswith("# Take "):
            self.by_hand(line)
        if not line or line.startswith("#"):
            return
        menu, verb, rest = line.split(" ", 2)
        said = dict(
            re.findall(r'([a-z0-9-]+)=("[^"]*"|\(.*?\]\],.*?\)|\S+)', re.sub(r"\[find.*?\]", "", rest, count=0))
        )
        match menu, verb:
            case "/interface/bridge/vlan", "add":
                for vid in vids(said["vlan-ids"]):
                    assert vid not in self.added, "failure: vlan already added"
                    self.added.add(vid)
                    row = self.rows.setdefault(vid, {"tagged": set(), "untagged": set()})
                    for kind in row:  # one of before is set, as the comment says
                        row[kind] |= set(filter(None, said.get(kind, "").split(",")))
            case "/interface/bridge/vlan", "set":
                found = re.fullmatch(
                    r"(tagged|untagged)=\(\[get value-name=\1 \[find bridge=br0 vlan-ids=(\d+)\]\],"
                    r'("[^)]*")\) \[find bridge=br0 vlan-ids=\2\]',
                    rest,
                )
                assert found, rest
                self.rows[int(found[2])][found[1]] |= {one.strip('"') for one in found[3].split(",")}
            case "/interface/bridge/port", "add":
                assert said["interface"] not in self.bridged
                assert not any(said["interface"] in members for members, _ in self.bonds.values())
                self.bridged[said["interface"]] = said
            case "/interface/bridge/port", "set":
                self.bridged[self.named(rest)] |= said
            case "/interface/bridge/port", "remove":
                del self.bridged[self.named(rest)]
            case "/interface/bonding", "add":
                members = set(said["slaves"].split(","))
                assert not members & self.bridged.keys(), "a port of a bridge cannot be a slave"
                self.bonds[said["name"]] = (members, {"802.3ad": "lacp", "balance-xor": "static"}[said["mode"]])
            case "/interface/bonding", "set":
                members, mode = self.bonds[self.named(rest)]
                slaves = set(said["slaves"].split(",")) if "slaves" in said else members
                self.bonds[self.named(rest)] = (slaves, mode)
            case "/interface/bonding", "remove":
                assert self.named(rest) not in self.bridged
                del self.bonds[self.named(rest)]
            case (("/interface/ethernet" | "/interface/bridge" | "/ip/neighbor/discovery-settings"), "set"):
                pass
            case _:
                raise AssertionError(f"no such statement: {line}")

    @staticmethod
    def named(rest: str) -> str:
        found = re.search(r"\[find (?:interface|name)=(\S+)\]", rest)
        assert found, rest
        return found[1]

    def by_hand(self, line: str) -> None:
        found = re.match(r"# Take (\S+) out of (?:`(tagged|untagged)=` of )?the row (?:of|that holds) VLAN (\d+)", line)
        assert found, line
        row = self.rows[int(found[3])]
        for kind in (found[2],) if found[2] else row:
            row[kind].discard(found[1])

    def carries(self) -> dict[str, Carries]:
        found: dict[str, Carries] = {}
        for name, said in self.bridged.items():
            members, kind = self.bonds.get(name, ({name}, "none"))
            tagged = {vid for vid, row in self.rows.items() if name in row["tagged"]}
            untagged = {vid for vid, row in self.rows.items() if name in row["untagged"]}
            native = int(said["pvid"]) if said["frame-types"] == "admit-all" else 0
            assert untagged == ({native} if native else set()) and native not in tagged
            found[name] = (frozenset(members), kind, frozenset(tagged), native)
        rows = {one for row in self.rows.values() for kind in row.values() for one in kind}
        assert rows <= found.keys(), f"a row names ports that are gone: {rows - found.keys()}"
        return found


class OpenConfig(Machine):
    """Each interface is replaced; what `beside` says is deleted."""

    def __init__(self, system: str, ports: Iterable[str]) -> None:
        super().__init__(system, ports)
        self.interfaces: dict[str, Any] = {}

    def told(self, text: str, beside: Iterable[str] = ()) -> None:
        for line in beside:
            for path in re.findall(r"/interfaces/interface\[name=(\S+?)\](?=( |$|/ethernet\S*))", line):
                self.interfaces.pop(path[0], None)
        said = json.loads(text)
        for instance in said.get("openconfig-network-instance:network-instances", {}).get("network-instance", ()):
            self.vlans |= {vlan["vlan-id"] for vlan in instance["vlans"]["vlan"]}
        for one in said.get("openconfig-interfaces:interfaces", {}).get("interface", ()):
            assert one["config"]["type"]
            self.interfaces[one["name"]] = one
        for one in said.get("openconfig-lacp:lacp", {}).get("interfaces", {}).get("interface", ()):
            assert self.interfaces[one["name"]]["openconfig-if-aggregate:aggregation"]["config"]["lag-type"] == "LACP"

    def carries(self) -> dict[str, Carries]:
        found: dict[str, Carries] = {}
        for name, one in self.interfaces.items():
            port = one.get("openconfig-if-ethernet:ethernet", {})
            if "config" in port:
                continue
            lag = one.get("openconfig-if-aggregate:aggregation", {})
            kind = lag["config"]["lag-type"].lower() if lag else "none"
            switched = (lag or port).get("openconfig-vlan:switched-vlan", {}).get("config")
            tagged, native = self.switched(switched) if switched else (set(), 0)
            members = {n for n, p in self.interfaces.items() if self.aggregate(p) == name}
            found[name] = (frozenset(members or {name}), kind, frozenset(tagged), native)
        return found

    @staticmethod
    def switched(config: dict[str, Any]) -> tuple[set[int], int]:
        if config["interface-mode"] == "ACCESS":
            return set(), config["access-vlan"]
        assert config["trunk-vlans"], "an empty list means all VLANs"
        text = ",".join(str(one).replace("..", "-") for one in config["trunk-vlans"])
        return vids(text), config.get("native-vlan", 0)

    @staticmethod
    def aggregate(port: dict[str, Any]) -> str:
        config = port.get("openconfig-if-ethernet:ethernet", {}).get("config", {})
        return str(config.get("openconfig-if-aggregate:aggregate-id", ""))


MACHINES: dict[str, type[Machine]] = {
    "eos": Cisco,
    "nxos": Cisco,
    "junos": Junos,
    "sonic": Sonic,
    "nvue": Nvue,
    "dell-os10": Cisco,
    "routeros": RouterOs,
    "linux": Linux,
    "openconfig": OpenConfig,
}
