"""Links that take frames from a NIC before a bond could: a plan refuses what the kernel would refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from windrow.apps.engine import look, plan_node
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.netlink.kernel import Kernel
from windrow.plan.taken import HANDLERS
from windrow.testing import builders

NODE = "n1"
CLUSTER = Cluster.of(
    (builders.cluster_network("oob"), builders.vlan_config("oob", ["eth1"]), builders.nad("v100", "oob", 100))
)


@pytest.mark.parametrize("kind", sorted(HANDLERS))
def test_a_nic_with_another_handler_joins_no_bond(chain: Sequence[Any], kind: str) -> None:
    host = chain[0]
    host.ip("link add eth1 type veth peer name far1", "link add bo type bond")
    host.ip(f"link add link eth1 name other type {kind}")
    refused = host.run("ip", "link", "set", "eth1", "master", "bo")
    assert refused.returncode and "in use" in refused.stderr, refused
    with Kernel(host.fd) as kernel:
        plan = plan_node(CLUSTER, look(kernel, NODE, Known())).plan
        assert any(p.code == "nic-in-use" and p.message.startswith("other ") for p in plan.refusals), plan.refusals
        host.ip("link delete other")
        assert not plan_node(CLUSTER, look(kernel, NODE, Known())).plan.refusals
