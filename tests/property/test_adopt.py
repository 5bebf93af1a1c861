"""What a kernel has, in objects, and back: nothing is lost on the way, whoever made it and however it is called."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.golden.cases import CASES as GOLDEN
from tests.golden.cases import NODE as GOLDEN_NODE
from tests.golden.cases import start

from windrow.adopt import Adoption, Ask, as_adopted, design
from windrow.apps.engine import Sight, converge, look, plan_node
from windrow.compile import compile_node
from windrow.model.cluster import Cluster
from windrow.model.facts import Known
from windrow.model.host import Bond, Bridge, HostState, VlanIf
from windrow.model.objects import AddressMode, HostNetworkConfig
from windrow.model.problems import errors
from windrow.model.steps import Adopt, Disown, Impact, SetVlans, Step
from windrow.model.steps import Phase as StepPhase
from windrow.model.values import IfName, Ref
from windrow.testing import generate
from windrow.testing.fake import FakeKernel
from windrow.testing.generate import NODE

CASES = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
SEEDS = st.integers(min_value=0, max_value=2**32)
KNOWN = Known(agent=True)
NAMES = {"oob": ("br0", "bond0"), "lab": ("vmbr1", "bond1"), "stor": ("br-stor", "bond-stor")}


def host(seed: int) -> tuple[FakeKernel, Cluster]:
    """A host that is as a random cluster asks."""
    dice, kernel = Random(seed), FakeKernel()
    for nic in generate.NICS:
        kernel.add_nic(nic, up=True)
    cluster = generate.random_cluster(dice)
    report = converge(cluster, kernel, NODE, knowing=lambda: KNOWN)
    assert report.ok, report.left
    return kernel, cluster


def sight_of(kernel: FakeKernel, node: str = NODE, known: Known = KNOWN) -> Sight:
    return look(kernel, node, known)


def exported(sight: Sight) -> Adoption:
    found = design(Cluster.of(()), sight.facts, sight.observed, Ask(ours=True), {})
    assert errors(found.problems) == ()
    return found


def essence(state: HostState) -> HostState:
    """Without what this host remembers of how it came about, and no manifest says."""
    return replace(state, links={name: replace(link, settled=frozenset()) for name, link in state.links.items()})


@given(seed=SEEDS)
@CASES
def test_what_is_exported_asks_for_the_same_again(seed: int) -> None:
    kernel, cluster = host(seed)
    sight = sight_of(kernel)
    again = Cluster.of((cluster.node(NODE), *exported(sight).objects))
    wanted, found = compile_node(cluster, sight.facts), compile_node(again, sight.facts)
    assert essence(found.state) == essence(wanted.state)
    assert found.held == wanted.held


@given(seed=SEEDS)
@CASES
def test_what_others_made_just_so_is_adopted_and_nothing_changes(seed: int) -> None:
    """The same networks by the names of others: each link is marked, and the plan after it is empty."""
    kernel, cluster = host(seed)
    before = kernel.observe()
    kernel.made_by_others(others_names(kernel))
    table = str(kernel)
    sight = sight_of(kernel)
    adoption = design(Cluster.of(()), sight.facts, sight.observed, Ask(), {})
    assert errors(adoption.problems) == ()
    observed, facts = as_adopted(sight.observed, sight.facts, adoption.marked)
    foretold = Sight(observed=observed, facts=facts)
    objects = Cluster.of((cluster.node(NODE), *adoption.objects))
    plan = plan_node(objects, foretold).plan
    if asks_untagged(cluster):  # another hand's bridge that has no address is in its native VLAN by habit
        assert all(isinstance(s.action, SetVlans) and s.action.on_self for s in plan.steps), plan
    else:
        assert plan.empty, plan
    for one in adoption.marked:
        assert kernel.run([step(one.link, Adopt(one.name))]) is None
    seen = sight_of(kernel)
    assert seen.observed == foretold.observed
    protected, reach = foretold.facts.protected, foretold.facts.reach  # beforehand nobody takes a risk
    assert replace(seen.facts, protected=protected, reach=reach) == foretold.facts
    assert seen.facts.protected <= protected
    assert plan_node(objects, seen).plan == plan
    assert {cn for cn in ("br0", "vmbr1", "stor") for n in adoption.networks if n.cluster_network == cn} == {
        n.cluster_network for n in adoption.networks
    }
    assert len(seen.observed.state.links) == len(before.state.links)
    for one in reversed(adoption.marked):
        assert kernel.run([step(one.name, Disown(one.link, one.group))]) is None
    assert str(kernel) == table
    assert kernel.interruptions == []


def asks_untagged(cluster: Cluster) -> bool:
    """Whether a server is asked for an address of a bridge itself, and none has answered."""
    return any(h.mode is AddressMode.DHCP and not h.vid for h in cluster.all(HostNetworkConfig))


def others_names(kernel: FakeKernel) -> dict[str, str]:
    """Of the links that Windrow made, as other programs would call them."""
    found: dict[str, str] = {}
    for name, link in kernel.observe().state.links.items():
        cn = name.partition("-")[0]
        match link.spec:
            case Bridge():
                found[name] = NAMES[cn][0]
            case Bond():
                found[name] = NAMES[cn][1]
            case VlanIf(vid=vid):
                found[name] = f"{NAMES[cn][0]}.{vid}"
    kernel.interruptions.clear()
    return found


def step(link: IfName, action: Adopt | Disown) -> Step:
    return Step(phase=StepPhase.PREPARE, link=link, action=action, why=Ref("Test", "test"), impact=Impact.NONE)


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case.name)
def test_the_topologies_of_the_plans(case) -> None:  # type: ignore[no-untyped-def]
    """Wherever those hosts are as Windrow made them, what is exported asks for no other change than the ports of
    containers do by themselves."""
    kernel, known = start(case)
    sight = sight_of(kernel, GOLDEN_NODE, known)
    found = design(Cluster.of(()), sight.facts, sight.observed, Ask(ours=True), {})
    ours = [n for n in found.networks if sight.observed.owned(n.bridge) and sight.observed.owned(n.bond)]
    if not ours:
        return
    plan = plan_node(Cluster.of(found.objects), sight).plan
    names = {link for network in ours for link in (network.bridge, network.bond)}
    assert [s for s in plan.steps if s.link in names] == []
