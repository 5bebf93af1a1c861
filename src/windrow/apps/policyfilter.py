"""Network policies by iptables and ipset, looked at and put right, where the kernel has no nftables of the family
bridge (`policy.iptables`). In the calling thread's network namespace."""

from __future__ import annotations

from collections.abc import Iterable

from windrow.model.bridging import TAGGED_NETFILTER
from windrow.model.ruletable import RuleTable
from windrow.netlink import links, observe, sysctl
from windrow.netlink.sock import Rtnl
from windrow.policy import iptables
from windrow.services.errors import ServiceError
from windrow.services.firewall import LEGACY, SYSTEM, Firewall


class PolicyFilter:
    """Raises ServiceError, KernelError; ValueError for what it does not understand."""

    def __init__(self, firewall: Firewall) -> None:
        self._firewall = firewall

    def in_use(self) -> bool:
        """Whether the kernel has that table of iptables in use; nobody's modules are loaded by asking."""
        if self._firewall.has_table(iptables.TABLE):
            return True
        try:
            return self._variant() == SYSTEM and bool(self._firewall.table("ip", iptables.TABLE))
        except ServiceError:  # no nft, which the system's iptables would be made of
            return False

    def read(self) -> RuleTable:
        """Empty where nothing was ever loaded."""
        return self._look(self._variant())[0]

    def load(self, want: RuleTable) -> None:
        """From what is there now. A bridge whose frames were shown stays so: its network may have asked for it
        (`bridgeNetfilter`). Whoever is killed on the way leaves nothing open that was closed before and is to be
        closed."""
        variant = self._variant()
        have, saved = self._look(variant)
        todo = iptables.programs(want, have, saved)
        if todo.sets_before:
            self._firewall.restore_sets(todo.sets_before)
        for family, text in todo.rules.items():
            self._firewall.restore_by(variant, str(family), text)
        if todo.sets_after:
            self._firewall.restore_sets(todo.sets_after)
        with Rtnl() as rtnl:
            shown = _shown(rtnl)
            there = iptables.bridges(want) & shown.keys()
            for name in there:
                if not shown[name]:
                    rtnl.run(links.show_frames(name))
        if there and sysctl.read(TAGGED_NETFILTER) == "0":
            sysctl.write(TAGGED_NETFILTER, "1")

    def covers(self, bridge: str) -> bool:
        """Whether a port that comes to this bridge is closed until it is judged; the rules are told of the bridge, if
        there are any. Its frames have to be shown to them still."""
        if not self.in_use():
            return False
        variant = self._variant()
        have, _ = self._look(variant)
        if not iptables.closes(have):
            return False
        if bridge not in iptables.judging(have):
            for family, text in iptables.joined(bridge, have).items():
                self._firewall.restore_by(variant, str(family), text)
        return True

    def _look(self, variant: str) -> tuple[RuleTable, dict[int, str]]:
        saved = {family: self._firewall.listed(variant, str(family), iptables.TABLE) for family in iptables.FAMILIES}
        with Rtnl() as rtnl:
            shown = _shown(rtnl)
        tagged = sysctl.read(TAGGED_NETFILTER) != "0"  # a tag without a VID would take a packet past the rules
        hidden = [name for name, on in shown.items() if not (on and tagged)]
        return iptables.read(saved, self._sets(saved.values()), hidden), saved

    def _sets(self, saved: Iterable[str]) -> str:
        """The table may be another program's, on a host without ipset: where no chain is ours, no set is either."""
        try:
            return self._firewall.sets()
        except ServiceError:
            if any(f":{iptables.PREFIX}" in text for text in saved):
                raise
            return ""

    def _variant(self) -> str:
        """The legacy one, for of its tables the kernel tells at once; where it is not installed, the system's."""
        return LEGACY if self._firewall.is_there(LEGACY) else SYSTEM


def _shown(rtnl: Rtnl) -> dict[str, bool]:
    """Each bridge that there is, and whether its frames go through iptables."""
    raws = observe.dump_links(rtnl)
    return {str(raw.attrs["name"]): links.shows_frames(raw.data) for raw in raws if raw.kind == "bridge"}
