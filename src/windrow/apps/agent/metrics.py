"""Metrics in the text format of Prometheus (exposition format 0.0.4), and the health of the agent.

Links are those that a cluster network is made of, and the NICs: not the ports of machines and pods, which come and go
and would be a series each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from windrow.apps.agent.snapshot import Snapshot
from windrow.model import names
from windrow.model.events import EventType
from windrow.model.host import Bond, Bridge, Link, Observed, Runtime, VlanIf, Vxlan
from windrow.model.lazy import dataclass
from windrow.policy.nft import counted, dropped
from windrow.status.bondfaults import BondSeen, Slave, bonds, faults
from windrow.status.findings import finding_counts

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MBIT_IN_BYTES = 125_000

Sample = tuple[dict[str, str], float]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `kind` is `gauge` or `counter`; a counter's name ends in `_total`."""

    name: str
    kind: str
    help: str
    samples: Sequence[Sample]


def exposition(snapshot: Snapshot) -> str:
    """All metrics. A family without a sample is left out."""
    return "".join(map(_text, families(snapshot)))


def families(snapshot: Snapshot) -> Iterator[Family]:
    yield from _agent(snapshot)
    yield from _conditions(snapshot)
    yield _findings(snapshot)
    if snapshot.observed is not None:
        yield from _links(snapshot.observed)
        yield from _bonds(snapshot.observed)
        yield from _policies(snapshot.observed)
    ends: list[Sample] = [({"link": link}, end) for link, end in sorted(snapshot.lease_ends.items())]
    yield _gauge("dhcp_lease_expiry_timestamp_seconds", "When the DHCP lease of the link runs out.", ends)


# -- the agent -------------------------------------------------------------------------------------


def _agent(snapshot: Snapshot) -> Iterator[Family]:
    status, counters, timings = snapshot.status, snapshot.counters, snapshot.timings
    differences = sum(len(unit.deltas) for unit in snapshot.left.units)
    yield _gauge("agent_info", "What runs here.", [({"node": status.node, "version": status.version}, 1)])
    yield _one("start_time_seconds", "When the agent began.", status.started)
    yield _one("last_round_timestamp_seconds", "When the agent last looked at the whole network.", status.last_round)
    yield _one("last_round_duration_seconds", "How long the last round took.", timings.whole)
    yield _one("observe_duration_seconds", "How long the last look at the kernel took.", timings.observe)
    yield _one("plan_duration_seconds", "How long the last compilation and plan took.", timings.plan)
    yield _counter("rounds_total", "Full looks at the network.", [({}, counters.rounds)])
    yield _counter(
        "drift_repaired_total", "Differences that others made and that were put right.", [({}, counters.repaired)]
    )
    steps: list[Sample] = [({"result": "done"}, counters.steps_done), ({"result": "failed"}, counters.steps_failed)]
    yield _counter("steps_total", "Steps of plans that were tried.", steps)
    events: list[Sample] = [({"type": t.value}, counters.events.get(t, 0)) for t in EventType]
    yield _counter("events_total", "Events that were recorded.", events)
    yield _one("plan_steps_left", "Steps that are still to do.", len(snapshot.left.steps))
    yield _one("plan_differences_left", "Differences between the manifests and the kernel.", differences)
    yield _one("plan_refusals", "Parts of the plan that are refused.", len(snapshot.left.refusals))
    yield _one("failures", "Steps that failed and are tried again.", len(status.failures))
    yield _one("contests", "Differences that come back as often as they are repaired.", len(status.contests))


def _conditions(snapshot: Snapshot) -> Iterator[Family]:
    """One that is not known has no sample."""
    known = [c for c in snapshot.status.conditions if c.status is not None]
    labels = [{"kind": c.about.kind, "name": _name(c.about.namespace, c.about.name), "type": c.type} for c in known]
    values: list[Sample] = [(label, float(bool(c.status))) for label, c in zip(labels, known, strict=True)]
    since: list[Sample] = [(label, c.since) for label, c in zip(labels, known, strict=True)]
    yield _gauge("condition", "Whether a condition of an object is true.", values)
    yield _gauge("condition_last_transition_time_seconds", "When it became what it is.", since)


def _findings(snapshot: Snapshot) -> Family:
    labels = ("reason", "grade", "certainty")
    counts = finding_counts(snapshot.outside)
    samples: list[Sample] = [(dict(zip(labels, key, strict=True)), count) for key, count in counts.items()]
    return _gauge("findings", "What the probes found wrong outside of this host.", samples)


def _name(namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name


# -- links -----------------------------------------------------------------------------------------


def _links(observed: Observed) -> Iterator[Family]:
    shown = [
        (link, observed.runtime[name]) for name, link in sorted(observed.state.links.items()) if _shown(observed, link)
    ]

    def each(value: Callable[[Link, Runtime], float | None]) -> list[Sample]:
        found = (({"link": str(link.name), "kind": link.kind}, value(link, run)) for link, run in shown)
        return [(labels, number) for labels, number in found if number is not None]

    def speed(_: Link, run: Runtime) -> float | None:
        return run.speed * _MBIT_IN_BYTES if run.speed else None

    yield _gauge("link_up", "Whether the link is switched on.", each(lambda link, _: float(bool(link.up))))
    yield _gauge("link_carrier", "Whether the link has carrier.", each(lambda _, run: float(run.carrier)))
    yield _gauge("link_speed_bytes", "Bytes a second.", each(speed))
    yield _gauge("link_mtu_bytes", "The MTU of the link.", each(lambda link, _: link.mtu))
    yield _counter(
        "link_carrier_losses_total", "How often it has lost its carrier.", each(lambda _, run: run.carrier_downs)
    )
    ports: dict[str, int] = {link.name: 0 for link, _ in shown if isinstance(link.spec, Bridge)}
    for link in observed.state.links.values():
        if link.master in ports:
            ports[link.master] += 1
    yield _gauge(
        "bridge_ports", "Ports of the bridge, its uplink included.", [({"link": n}, c) for n, c in ports.items()]
    )


def _shown(observed: Observed, link: Link) -> bool:
    run = observed.runtime.get(link.name)
    if run is None or link.name == "lo":
        return False
    if isinstance(link.spec, Bond | Bridge | VlanIf | Vxlan):
        return observed.owned(link.name) or link.name in names.MGMT_DEVICES or link.parent in names.MGMT_DEVICES
    return link.kind == "device" or run.slave_active is not None


# -- bonds -----------------------------------------------------------------------------------------


def _bonds(observed: Observed) -> Iterator[Family]:
    seen = bonds(observed)

    def each(value: Callable[[BondSeen], float | None]) -> list[Sample]:
        found = (({"bond": str(b.name), "clusternetwork": b.about.name}, value(b)) for b in seen)
        return [(labels, number) for labels, number in found if number is not None]

    def slaves(value: Callable[[BondSeen, Slave], float | None]) -> list[Sample]:
        found = (({"bond": str(b.name), "slave": str(s.name)}, value(b, s)) for b in seen for s in b.slaves)
        return [(labels, number) for labels, number in found if number is not None]

    def failures(_: BondSeen, slave: Slave) -> float | None:
        return observed.runtime[slave.name].link_failures if slave.name in observed.runtime else None

    usable = each(lambda b: sum(s.usable for s in b.slaves))
    partner = each(lambda b: float(b.partner is not None) if b.lacp else None)
    grouped = slaves(lambda b, s: float(s.in_group) if b.lacp else None)
    yield _gauge("bond_slaves", "NICs in the bond.", each(lambda b: len(b.slaves)))
    yield _gauge("bond_slaves_usable", "NICs that it may send through.", usable)
    yield _gauge("bond_faults", "What is wrong with it now.", each(lambda b: len(faults(b))))
    yield _gauge("bond_lacp_partner", "Whether a bond in mode 802.3ad has a partner.", partner)
    yield _gauge("bond_slave_usable", "Whether the bond may send through it.", slaves(lambda _, s: float(s.usable)))
    yield _gauge("bond_slave_active", "Whether the bond sends through it.", slaves(lambda _, s: float(s.active)))
    yield _gauge("bond_slave_in_aggregator", "With LACP: whether it is where the traffic goes.", grouped)
    yield _counter("bond_slave_failures_total", "How often it has failed since it joined.", slaves(failures))


# -- network policies ------------------------------------------------------------------------------


def _policies(observed: Observed) -> Iterator[Family]:
    """Nothing where the packet filter cannot be looked at: that is not the same as no port."""
    table = observed.state.policies
    if table is None:
        return
    isolated = {port for port, _ in table.guarded}
    yield _one("policy_isolated_ports", "Ports that network policies isolate, as the kernel has it.", len(isolated))
    if not table.judges:
        return
    passed: list[Sample] = []
    for (policy, direction), packets in sorted(counted(table).items()):
        kind, _, name = policy.partition("/")
        labels = {"kind": kind, "name": name, "direction": direction.lower()}
        passed.append((labels, packets))
    lost: list[Sample] = [({"direction": d.lower()}, packets) for d, packets in sorted(dropped(table).items())]
    yield _counter("policy_passed_packets_total", "First packets of connections that a policy let through.", passed)
    yield _counter("policy_dropped_packets_total", "Packets that no policy let through.", lost)


# -- the text --------------------------------------------------------------------------------------


def _gauge(name: str, text: str, samples: Sequence[Sample]) -> Family:
    return Family(f"windrow_{name}", "gauge", text, samples)


def _counter(name: str, text: str, samples: Sequence[Sample]) -> Family:
    return Family(f"windrow_{name}", "counter", text, samples)


def _one(name: str, text: str, value: float) -> Family:
    return _gauge(name, text, [({}, value)])


def _text(family: Family) -> str:
    if not family.samples:
        return ""
    lines = [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
    lines += [f"{family.name}{_labels(labels)} {_number(value)}" for labels, value in family.samples]
    return "\n".join(lines) + "\n"


def _labels(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{key}="{_escaped(value)}"' for key, value in labels.items()) + "}" if labels else ""


def _escaped(value: str) -> str:
    """Names of links are bytes to the kernel: what is no UTF-8 (a surrogate here) is replaced."""
    plain = value.encode("utf-8", "replace").decode()
    return plain.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    """All digits of a time stamp; whole numbers without a point."""
    return str(int(value)) if value == int(value) else repr(float(value))


# -- health ----------------------------------------------------------------------------------------


def complaints(snapshot: Snapshot | None) -> tuple[str, ...]:
    """Why the agent cannot keep the network as its manifests want it. A cable that is out is not the agent's trouble:
    that is a condition, and starting the agent anew would not help."""
    if snapshot is None or snapshot.observed is None:
        return ("the network has not been looked at yet",)
    status = snapshot.status
    found = [f"{f.about}: {f.message}" for f in status.failures]
    found += [f"{c.about}: {c.link}: {c.field} is changed back by {c.rival or 'others'}" for c in status.contests]
    found += [f"{p.about or 'plan'}: {p.message}" for p in snapshot.left.refusals]
    return tuple(dict.fromkeys(found))
