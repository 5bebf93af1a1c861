"""VirtualMachineNetworkConfig: of a network with a pool, each MAC address once, at addresses that can be given."""

from __future__ import annotations

from collections.abc import Iterator

from windrow.compile.pools import Room, nad_called, network_of, withheld_of
from windrow.model.pools import IPPool, VirtualMachineNetworkConfig
from windrow.model.problems import Problem
from windrow.rules.ippool import has_room
from windrow.rules.review import Review, problem


def _path(index: int, field: str) -> str:
    return f"spec.networkConfigs[{index}].{field}"


def _pool(network: str, review: Review) -> IPPool | None:
    return next((pool for pool in review.after.all(IPPool) if pool.network == network), None)


def its_networks_have_pools(config: VirtualMachineNetworkConfig, review: Review) -> Iterator[Problem]:
    for i, entry in enumerate(config.network_configs):
        path = _path(i, "networkName")
        if _pool(entry.network, review) is not None or review.unreadable(IPPool):
            continue
        if nad_called(entry.network, review.after) is None:
            message = f"there is no NetworkAttachmentDefinition {entry.network}"
            yield problem(config, "nad-missing", path, message, "create it first, and an IPPool for it")
        else:
            yield problem(config, "pool-missing", path, f"{entry.network} has no IPPool", "create it first")


def each_mac_once(config: VirtualMachineNetworkConfig, review: Review) -> Iterator[Problem]:
    first: dict[tuple[str, str], int] = {}
    for i, entry in enumerate(config.network_configs):
        if first.setdefault((entry.network, entry.mac), i) != i:
            message = f"{entry.mac} is already in spec.networkConfigs[{first[entry.network, entry.mac]}]"
            yield problem(config, "mac-duplicate", _path(i, "macAddress"), message, "remove one of them")
        for other in _others(config, review):
            if any((o.network, o.mac) == (entry.network, entry.mac) for o in other.network_configs):
                message = f"{entry.mac} is already the address of {other.ref} in {entry.network}"
                yield problem(config, "mac-duplicate", _path(i, "macAddress"), message, "give each its own")


def addresses_can_be_given(config: VirtualMachineNetworkConfig, review: Review) -> Iterator[Problem]:
    for i, entry in enumerate(config.network_configs):
        pool = _pool(entry.network, review)
        if not entry.address or pool is None or network_of(pool, review.after) is None:
            continue
        path = _path(i, "ipAddress")
        reason = Room(pool, withheld_of(pool, review.after)).why_not(entry.address)
        if reason:
            hint = f"choose another one of {pool.first} to {pool.last}, or leave it out: then the lowest free one is it"
            yield problem(config, "address-not-given", path, f"{reason} ({pool.ref})", hint)
        for owner, mac in _holders(config, i, pool, review):
            message = f"{entry.address} is already for {mac} ({owner})"
            yield problem(config, "address-twice", path, message, "choose another one")


def _holders(
    config: VirtualMachineNetworkConfig, index: int, pool: IPPool, review: Review
) -> Iterator[tuple[str, str]]:
    """Who else asks for that very address."""
    mine = config.network_configs[index]
    for other in (*_others(config, review), config):
        for i, entry in enumerate(other.network_configs):
            earlier = other is not config or i < index
            if earlier and entry.mac != mine.mac and (entry.network, entry.address) == (mine.network, mine.address):
                yield str(other.ref), entry.mac
    for host in pool.hosts:
        if host.address == mine.address and host.mac != mine.mac:
            yield str(pool.ref), host.mac


def _others(config: VirtualMachineNetworkConfig, review: Review) -> list[VirtualMachineNetworkConfig]:
    found = review.after.all(VirtualMachineNetworkConfig)
    return [other for other in found if other.ref != config.ref and review.earlier(config, other)]


def its_machine_stays(config: VirtualMachineNetworkConfig, review: Review) -> Iterator[Problem]:
    old = review.before.objects.get(config.ref)
    if isinstance(old, VirtualMachineNetworkConfig) and old.vm_name != config.vm_name:
        message = f"the machine cannot change ({old.vm_name} to {config.vm_name})"
        hint = "delete this VirtualMachineNetworkConfig and make another"
        yield problem(config, "immutable", "spec.vmName", message, hint)


def pool_has_room(config: VirtualMachineNetworkConfig, review: Review) -> Iterator[Problem]:
    """Of a pool that changes too, the pool is complained about."""
    for network in dict.fromkeys(entry.network for entry in config.network_configs):
        pool = _pool(network, review)
        if pool is None or pool.ref in review.changed:
            continue
        for found in has_room(pool, review):
            if found.code == "pool-too-small":
                yield problem(config, found.code, "spec.networkConfigs", found.message, found.hint)


ON_PUT = (
    its_networks_have_pools,
    each_mac_once,
    addresses_can_be_given,
    its_machine_stays,
    pool_has_room,
)
