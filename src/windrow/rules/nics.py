"""The NICs of a VlanConfig: there, free, and nobody else's. Harvester checks none of this."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.compile.uplinks import find_nic
from windrow.model import names
from windrow.model.facts import Nic, NodeFacts
from windrow.model.objects import ClusterNetwork, NicIdentity, NicSelector, VlanConfig
from windrow.model.problems import Problem
from windrow.model.values import IfName
from windrow.rules.review import Review, problem, warning
from windrow.rules.selectors import meeting, selects

_MGMT = (names.bond_of(names.MGMT), names.bridge_of(names.MGMT))


def path(index: int) -> str:
    return f"spec.uplink.nics[{index}]"


def selected_here(config: VlanConfig, review: Review) -> NodeFacts | None:
    """The facts of this node, if the VlanConfig is for it."""
    node = review.here()
    return review.facts if node is not None and selects(config, node) else None


def there(config: VlanConfig, review: Review) -> Iterator[Problem]:
    """A NIC that was in the VlanConfig before may have failed: that is no reason to refuse other changes."""
    facts = selected_here(config, review)
    old = review.before.objects.get(config.ref)
    known = old.uplink.nics if isinstance(old, VlanConfig) else ()
    for i, selector in enumerate(config.uplink.nics if facts else ()):
        if facts is None or find_nic(selector, facts) is not None:
            continue
        link = selector.by is NicIdentity.NAME and selector.value in facts.links
        what = (
            f"{selector} is a link of node {facts.node}, but no NIC"
            if link
            else f"node {facts.node} has no NIC {selector}"
        )
        hint = f"its NICs are {', '.join(sorted(facts.nics)) or 'none'}"
        yield (warning if selector in known else problem)(config, "nic-missing", path(i), what, hint)


def named_once(config: VlanConfig, review: Review) -> Iterator[Problem]:
    """By name and again by address: the manifest alone does not tell, the node does."""
    facts = selected_here(config, review)
    found: dict[IfName, NicSelector] = {}
    for i, selector in enumerate(config.uplink.nics if facts else ()):
        nic = find_nic(selector, facts) if facts else None
        if nic is None:
            continue
        first = found.setdefault(nic.name, selector)
        if first is not selector and first != selector:
            message = f"{selector} is the same NIC as {first}: {nic.name}"
            yield problem(config, "nic-duplicate", path(i), message, "remove one of them")


def not_of_mgmt(config: VlanConfig, review: Review) -> Iterator[Problem]:
    """The management network's NICs, and whatever else carries the way to this node."""
    facts = selected_here(config, review)
    for i, nic in _found(config, facts):
        if facts is None or _ours(nic, config) or config.cluster_network == names.MGMT:
            continue
        if nic.master in _MGMT:
            message = f"NIC {nic.name} belongs to the management network: it is in {nic.master}"
            yield problem(config, "nic-of-mgmt", path(i), message, "choose a NIC that is free")
        elif nic.name in facts.protected:
            message = f"NIC {nic.name} carries the way to this node (its address or its default route)"
            yield problem(config, "nic-of-mgmt", path(i), message, "choose a NIC that is free")


def not_of_others(config: VlanConfig, review: Review) -> Iterator[Problem]:
    """In a bond or a bridge that is not Windrow's; the kernel itself would move it without a word."""
    facts = selected_here(config, review)
    for i, nic in _found(config, facts):
        told = facts is not None and nic.name in facts.protected and config.cluster_network != names.MGMT
        if facts is None or nic.master is None or told or _ours(nic, config):
            continue
        if nic.master not in _MGMT and nic.master not in _devices(review):
            message = f"NIC {nic.name} is already in {nic.master}, which is not Windrow's"
            yield problem(
                config, "nic-foreign", path(i), message, f"take it out of {nic.master} first, or choose another"
            )


def used_once(config: VlanConfig, review: Review) -> Iterator[Problem]:
    nodes = [node for node in review.nodes() if selects(config, node)]
    for other in review.staying(review.after.all(VlanConfig)):
        if other.ref == config.ref or other.cluster_network == config.cluster_network:
            continue  # of the same cluster network: vlanconfig.one_per_node
        both = list(_shared(config, other, review)) if review.earlier(config, other) else []
        where = meeting(config, other, nodes) if both else None
        for i, shared in both if where else ():
            message = f"NIC {shared} is already used by {other.ref} on {where}"
            yield problem(config, "nic-in-use", path(i), message, "a NIC can be in one bond only", [other.ref])


def primary_is_one_of_them(config: VlanConfig, review: Review) -> Iterator[Problem]:
    primary = config.uplink.bond.primary
    if not primary:
        return
    facts = selected_here(config, review)
    names_of_them = {s.value for s in config.uplink.nics if s.by is NicIdentity.NAME}
    names_of_them |= {nic.name for _, nic in _found(config, facts)}
    # By MAC or PCI address, and this is not the node: it cannot be known here.
    if primary not in names_of_them and (facts or all(s.by is NicIdentity.NAME for s in config.uplink.nics)):
        hint = f"one of {', '.join(sorted(names_of_them))}" if names_of_them else ""
        message = f"the primary {primary} is not one of the NICs"
        yield problem(config, "bond-primary", "spec.uplink.bondOptions.primary", message, hint)


def _found(config: VlanConfig, facts: NodeFacts | None) -> Iterator[tuple[int, Nic]]:
    for i, selector in enumerate(config.uplink.nics if facts else ()):
        nic = find_nic(selector, facts) if facts else None
        if nic is not None:
            yield i, nic


def _ours(nic: Nic, config: VlanConfig) -> bool:
    """Already a slave of this VlanConfig's own bond."""
    cn = config.cluster_network
    return config.effective and nic.master in (names.bond_of(cn), names.next_bond_of(cn))


def _devices(review: Review) -> set[str]:
    """The bonds of all cluster networks, also of those that go: their NICs become free."""
    networks = {c.name for cluster in (review.before, review.after) for c in cluster.all(ClusterNetwork)}
    return {bond for cn in networks for bond in (names.bond_of(cn), names.next_bond_of(cn))}


def _shared(config: VlanConfig, other: VlanConfig, review: Review) -> Iterator[tuple[int, str]]:
    """The same selector, or two selectors of the same NIC of this node."""
    facts = selected_here(config, review) if selected_here(other, review) else None
    theirs = {nic.name for _, nic in _found(other, facts)}
    for i, selector in enumerate(config.uplink.nics):
        nic = find_nic(selector, facts) if facts else None
        if selector in other.uplink.nics or (nic is not None and nic.name in theirs):
            yield i, str(selector)


ON_PUT = (there, named_once, not_of_mgmt, not_of_others, used_once, primary_is_one_of_them)
