"""Pass: network policies -> the table of the packet filter that enforces them at the ports of this node.

A policy is about a port that a CNI call made, on whomever's bridge: the port's record says whose it is. Which labels a
pod has, its Pod object says; a machine of this host has those of its template, and a container without either none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from windrow.compile.pools import nad_called
from windrow.model.cluster import Cluster
from windrow.model.facts import NodeFacts
from windrow.model.machines import VirtualMachine
from windrow.model.meta import Meta
from windrow.model.names import POD_BRIDGE
from windrow.model.objects import NetworkAttachmentDefinition
from windrow.model.policies import (
    ANNOTATION_POLICY_FOR,
    DEFAULT_INTERFACE,
    DEFAULT_NETWORK,
    MultiNetworkPolicy,
    Pod,
)
from windrow.model.policyrules import OwnGuards, PolicyRules, TunnelEnds
from windrow.model.ports import LAUNCHER, PortRecord
from windrow.model.problems import Problem, Severity
from windrow.model.ruletable import RuleTable
from windrow.model.values import Ref, link_local


def rule_table(cluster: Cluster, facts: NodeFacts, ends: Iterable[TunnelEnds]) -> RuleTable:
    """Of the policies, and against forged packets of the overlay, which iptables does not see before they are taken
    in."""
    found, guarded = policy_table(cluster, facts), [one for one in ends if one.addresses]
    if not guarded or found.of_iptables:
        return found
    from windrow.policy.nft import with_tunnels  # as in `policy_table`

    return with_tunnels(found, guarded)


def policy_table(cluster: Cluster, facts: NodeFacts) -> RuleTable:
    """Empty where there are neither policies nor ports with guards of their own. Ports that are about to be made are in
    it: their records are there already."""
    guarded = [record for record in facts.ports if record.guards]
    if not cluster.policies() and not guarded:
        return RuleTable()
    from windrow.policy import Endpoint, compile_policies, nft  # every command loads this module, and few have policies

    records = [record for record in facts.ports if _is_of_pod(record)]
    others = [record.host for record in facts.ports if not _is_of_pod(record)]
    whole = cluster.replace(_recorded_pods(cluster, records))
    unnamed = {record.host for record in _unnamed(cluster, facts)}
    endpoints = [
        Endpoint(
            port=one.host,
            pod=_pod_of(one),
            network=network_of(one, whole),
            addresses=_all_addresses(one, whole, facts),
            kept=_is_kept(one),
        )
        for one in records
        if one.host not in unnamed
    ]
    host = {str(address).partition("/")[0] for addresses in facts.addrs.values() for address in addresses}
    own = {r.host: OwnGuards(guards=r.guards, addresses=_addresses(r, whole, facts)) for r in guarded}
    rules = compile_policies(whole, endpoints, sorted(host | facts.fleeting), others, own)
    return nft.table(rules) if facts.features.bridge_conntrack else _by_iptables(rules, whole, facts)


def _by_iptables(rules: PolicyRules, cluster: Cluster, facts: NodeFacts) -> RuleTable:
    from windrow.policy import iptables  # as in `policy_table`

    routed = [record for record in facts.ports if _is_routed(record)]
    ports = {
        one.host: iptables.RoutedPort(bridge=one.bridge, addresses=_all_addresses(one, cluster, facts))
        for one in routed
    }
    return iptables.table(rules, ports, {POD_BRIDGE, *(one.bridge for one in routed)})


def _is_routed(record: PortRecord) -> bool:
    """Whether iptables sees its frames: as the default network's, and not in a VLAN of a bridge."""
    return record.ifname == DEFAULT_INTERFACE and record.vlans is None


def missing_networks(policy: MultiNetworkPolicy, cluster: Cluster) -> Iterator[tuple[str, Problem]]:
    """(network, a warning about it): the policy may mean one that comes, or that a container runtime has in its own
    directory."""
    path = f"metadata.annotations[{ANNOTATION_POLICY_FOR}]"
    for network in policy.networks:
        if nad_called(network, cluster) is None:
            nads = [f"{one.meta.namespace}/{one.name}" for one in cluster.all(NetworkAttachmentDefinition)]
            yield (
                network,
                Problem(
                    code="nad-missing",
                    path=path,
                    file=policy.source.file,
                    line=policy.source.line(path) or policy.source.line(""),
                    message=f"there is no NetworkAttachmentDefinition {network}",
                    hint=f"there are: {', '.join(nads) or 'none'}",
                    about=policy.ref,
                    severity=Severity.WARNING,
                ),
            )


def policy_problems(
    cluster: Cluster, facts: NodeFacts, wanted: RuleTable, *, guarded: bool = True
) -> Iterator[Problem]:
    """`guarded`: there is no overlay whose tunnels would have to be."""
    for policy in cluster.all(MultiNetworkPolicy):
        yield from (problem for _, problem in missing_networks(policy, cluster))
    if facts.policies_unread:
        yield Problem(
            code="policies-unread",
            message=f"whether the rules of network policies are in force cannot be said: {facts.policies_unread}",
            hint="run it as root, with nft installed",
            about=Ref("Node", facts.node),
            severity=Severity.WARNING,
        )
    if not facts.features.bridge_conntrack:
        yield from _beyond_iptables(cluster, facts)
        if wanted.of_iptables:
            yield from _not_told_by_address(cluster, facts)
        if wanted.of_iptables and not guarded:
            yield Problem(
                code="overlay-unguarded",
                message="forged packets of the overlay are not dropped: network policies are enforced by iptables here",
                hint=_LOAD,
                about=Ref("Node", facts.node),
                severity=Severity.WARNING,
            )
    yield from _without_address(cluster, facts)
    yield from _not_judged(cluster, facts, wanted)


def _beyond_iptables(cluster: Cluster, facts: NodeFacts) -> Iterator[Problem]:
    """Ports that nothing guards on a kernel like this. New ones are refused (`apps.cni.judging`)."""
    policed = {(policy.meta.namespace, network) for policy in cluster.policies() for network in policy.networks}
    for record in facts.ports:
        wants = [] if not record.guards else ["guards of its own"]
        if not _is_routed(record) and (_pod_of(record).namespace, network_of(record, cluster)) in policed:
            wants.append("network policies")
        if wants:
            yield Problem(
                code="policies-need-nftables",
                message=f"{record.ifname} of {record.user} stays open: iptables cannot enforce {' and '.join(wants)}"
                " at a bridge",
                hint=_LOAD,
                about=record.ref,
            )


def _not_told_by_address(cluster: Cluster, facts: NodeFacts) -> Iterator[Problem]:
    """Ports that get nothing from beyond their bridge: iptables tells by the address alone whose a routed packet is."""
    for record in facts.ports:
        if _is_routed(record) and not _all_addresses(record, cluster, facts):
            yield Problem(
                code="no-address-known",
                message=f"no address of {record.user} is known, and network policies are enforced by iptables here:"
                " nothing that is routed arrives there, answers included",
                hint=f"say it in its Pod's status.podIPs, or give it by an IPAM plugin; or {_LOAD}",
                about=record.ref,
                severity=Severity.WARNING,
            )


_LOAD = "install nft, and load nf_tables (with the family bridge) and nf_conntrack_bridge"


def _without_address(cluster: Cluster, facts: NodeFacts) -> Iterator[Problem]:
    for record in facts.ports:
        if record.guards.addresses and not _addresses(record, cluster, facts):
            yield Problem(
                code="no-address-recorded",
                message=f"{record.user} may send only from its own addresses, and {record.ifname} has none recorded",
                hint="add them by an IPAM plugin, an IPPool or its Pod's network status; until then only DHCP passes",
                about=record.ref,
                severity=Severity.WARNING,
            )


def _not_judged(cluster: Cluster, facts: NodeFacts, wanted: RuleTable) -> Iterator[Problem]:
    """Ports that stay closed, and what for."""
    for record in _unnamed(cluster, facts):
        yield Problem(
            code="port-not-judged",
            message=f"the API does not know {record.user}, so network policies keep its port {record.host} closed",
            hint="create its Pod: by the Pod's labels it is known which policies are about the port",
            about=record.ref,
            severity=Severity.WARNING,
        )
    unknown = sorted(facts.port_links - {record.host for record in facts.ports})
    if unknown and not wanted.empty:
        yield Problem(
            code="port-not-judged",
            message=f"no record says whose {', '.join(unknown)} is, so network policies keep it closed",
            hint="start its pod or machine again",
            about=Ref("Node", facts.node),
            severity=Severity.WARNING,
        )


def _is_of_pod(record: PortRecord) -> bool:
    namespace, _, pod = record.pod.partition("/")
    return bool(namespace and pod)


def _pod_of(record: PortRecord) -> Ref:
    namespace, _, pod = record.pod.partition("/")
    return Ref(Pod.KIND, pod, namespace)


def _unnamed(cluster: Cluster, facts: NodeFacts) -> Iterator[PortRecord]:
    """Ports that stay closed until the API has named their pods: policies of their namespace are about labels. On a
    host without an API a pod needs no object."""
    namespaces = cluster.policed_namespaces() if facts.of_cluster else frozenset()
    for record in facts.ports:
        if _is_of_pod(record) and (ref := _pod_of(record)).namespace in namespaces and ref not in cluster.objects:
            yield record


def _recorded_pods(cluster: Cluster, records: Iterable[PortRecord]) -> Iterator[Pod]:
    """The pods on this node of which the cluster's objects do not say all."""
    for record in records:
        ref = _pod_of(record)
        found = cluster.objects.get(ref)
        pod = found if isinstance(found, Pod) else Pod(meta=_meta(ref, cluster))
        if record.ifname == DEFAULT_INTERFACE and not pod.addresses and record.given:
            pod = replace(pod, addresses=record.given)
        if pod is not found:
            yield pod


def _addresses(record: PortRecord, cluster: Cluster, facts: NodeFacts) -> tuple[str, ...]:
    """All that the port's pod or machine is known to have there: by its IPAM plugin, else its Pod (whose annotations
    its owner may write), and a pool."""
    pod = cluster.objects.get(_pod_of(record))
    of_pod = pod.addresses_in(network_of(record, cluster)) if isinstance(pod, Pod) else ()
    said = record.given or of_pod
    pooled = [str(one) for macs in facts.record.values() for mac, one in macs.items() if mac == record.mac]
    return tuple(dict.fromkeys((*said, *pooled)))


def _is_kept(record: PortRecord) -> bool:
    """To its own addresses: in the network that Windrow brings they are all known, for Windrow gave them."""
    brought = record.bridge == POD_BRIDGE or bool(record.routed)
    return brought and bool(record.given) and not record.any_source


def _all_addresses(record: PortRecord, cluster: Cluster, facts: NodeFacts) -> tuple[str, ...]:
    """With the one that the kernel gives itself on the link."""
    found = _addresses(record, cluster, facts)
    return (*found, link_local(record.mac)) if found and record.mac else found


def _meta(pod: Ref, cluster: Cluster) -> Meta:
    machine = cluster.objects.get(Ref(VirtualMachine.KIND, pod.name.removeprefix(LAUNCHER), pod.namespace))
    template = machine.template if isinstance(machine, VirtualMachine) else None
    labels = template.labels if template is not None else {}
    return Meta(name=pod.name, namespace=pod.namespace, labels=labels)


def network_of(record: PortRecord, cluster: Cluster) -> str:
    """Which network the port is in: the default one by the interface's name; a further network is the one whose
    configuration has the name in the record. Of several the network status of the pod says which. It is no more than
    that: an annotation, and whoever may write it must not get out of a policy."""
    if record.ifname == DEFAULT_INTERFACE:
        return DEFAULT_NETWORK
    ref = _pod_of(record)
    nads = sorted(cluster.nads_by_config(record.network), key=lambda nad: nad.meta.namespace != ref.namespace)
    found = [f"{nad.meta.namespace}/{nad.name}" for nad in nads]
    pod = cluster.objects.get(ref)
    interfaces = pod.interfaces if isinstance(pod, Pod) else ()
    for one in interfaces:
        said = DEFAULT_NETWORK if one.default else one.network
        if one.name == record.ifname and (said in found or not found):
            return said
    return found[0] if found else f"{ref.namespace}/{record.network}"
