"""Subnet and Vpc of kube-ovn, on an API server: the one Subnet of an overlay network, which stays under its users."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.model.kubeovn import OWN_PROVIDER, OWN_SUBNETS, Subnet, Vpc
from windrow.model.objects import NetworkAttachmentDefinition, NetworkType
from windrow.model.problems import Problem
from windrow.model.values import Ref
from windrow.rules.review import Review, listed, problem, refs
from windrow.rules.usage import running

PROVIDER, VPC, DHCP = "spec.provider", "spec.vpc", "spec.enableDHCP"
_FORM = "write NAME.NAMESPACE.ovn of its NetworkAttachmentDefinition"


def _is_own(subnet: Subnet) -> bool:
    return subnet.name in OWN_SUBNETS


def _network(subnet: Subnet) -> Ref:
    return Ref(NetworkAttachmentDefinition.KIND, *subnet.network)


def kubeovns_own_have_its_provider(subnet: Subnet, _review: Review) -> Iterator[Problem]:
    if _is_own(subnet) and subnet.provider != OWN_PROVIDER:
        message = f"{subnet.name} is kube-ovn's own, and its provider is {subnet.provider[:100]!r}"
        yield problem(subnet, "subnet-provider", PROVIDER, message, f"write {OWN_PROVIDER}")


def its_network_is_an_overlay(subnet: Subnet, review: Review) -> Iterator[Problem]:
    """kube-ovn finds the Subnet of a pod's NIC by the provider of its network. Subnets of the pods' own network are
    what a cluster has whose network kube-ovn is; Harvester's is not."""
    if _is_own(subnet) or (not review.terms.strict and subnet.provider in ("", OWN_PROVIDER)):
        return
    if not all(subnet.network):
        what = f"{subnet.provider[:100]!r} names no network" if subnet.provider else "it is missing"
        yield problem(subnet, "subnet-provider", PROVIDER, what, _FORM)
        return
    ref = _network(subnet)
    found = review.after.objects.get(ref)
    if not isinstance(found, NetworkAttachmentDefinition):
        if ref not in review.unread:
            yield problem(subnet, "network-missing", PROVIDER, f"there is no {ref}", "create it first", [ref])
    elif review.leaving(found):
        yield problem(subnet, "network-missing", PROVIDER, f"{ref} is being deleted", "create it anew first", [ref])
    elif found.type is not NetworkType.OVERLAY and found.knows(f"{found.place}.type"):
        message = f"{ref} is no overlay: its CNI type is not kube-ovn"
        yield problem(subnet, "network-type", PROVIDER, message, "name an overlay network", [ref])


def one_per_network(subnet: Subnet, review: Review) -> Iterator[Problem]:
    """A provider is of one Subnet."""
    if _is_own(subnet) or not all(subnet.network):
        return
    others = [
        other
        for other in review.staying(review.after.all(Subnet))
        if other.ref != subnet.ref and other.provider == subnet.provider and review.earlier(subnet, other)
    ]
    if others:
        message = f"{subnet.provider} is the provider of {listed(others)}"
        yield problem(subnet, "subnet-overlap", PROVIDER, message, "one Subnet for each overlay network", refs(others))


def its_vpc_exists(subnet: Subnet, review: Review) -> Iterator[Problem]:
    ref = Ref(Vpc.KIND, subnet.vpc)
    found = review.after.objects.get(ref)
    if subnet.vpc and not _is_own(subnet) and (found is None or review.leaving(found)):
        message = f"{ref} is being deleted" if found is not None else f"there is no {ref}"
        yield problem(subnet, "vpc-missing", VPC, message, "create it first, or remove this field", [ref])


def stays_while_addresses_are_used(subnet: Subnet, review: Review) -> Iterator[Problem]:
    """Whoever has one of its addresses would be cut off. Harvester looks at those of IPv4 alone."""
    old = review.old(subnet)
    if old is None or not old.used:
        return
    for path, was, now in ((PROVIDER, old.provider, subnet.provider), (VPC, old.vpc, subnet.vpc)):
        if was != now:
            message = f"it cannot change ({was or 'none'} to {now or 'none'}): {old.used} of its addresses are in use"
            yield problem(subnet, "subnet-in-use", path, message, "stop whoever uses them first")


def dhcp_stays_under_machines(subnet: Subnet, review: Review) -> Iterator[Problem]:
    old, network = review.old(subnet), review.after.objects.get(_network(subnet))
    if old is None or old.dhcp == subnet.dhcp or not isinstance(network, NetworkAttachmentDefinition):
        return
    if machines := running([network], review):
        message = f"it cannot change while {listed(machines)} runs"
        yield problem(subnet, "machines-running", DHCP, message, "stop these first", refs(machines))


def vpc_gone_only_when_unused(vpc: Vpc, review: Review) -> Iterator[Problem]:
    """kube-ovn's own webhook says the same, where it is installed."""
    if found := [subnet for subnet in review.after.all(Subnet) if subnet.vpc == vpc.name]:
        message = f"it still has {listed(found)}"
        yield problem(vpc, "vpc-in-use", "", message, "delete these first", refs(found))


ON_SERVED_PUT = (
    kubeovns_own_have_its_provider,
    its_network_is_an_overlay,
    one_per_network,
    its_vpc_exists,
    stays_while_addresses_are_used,
    dhcp_stays_under_machines,
)
ON_SERVED_DELETE = (vpc_gone_only_when_unused,)
