"""What is found leads to the command that prints the statements for the switch."""

from __future__ import annotations

from windrow.apps.cli.switchside import statement_lines
from windrow.model.evidence import Evidence, Identity, Kind, Leg, NicEvidence, NodeEvidence, SwitchPort
from windrow.model.findings import Certainty, Finding, Fix, Grade, PortFix, Reason
from windrow.model.values import IfName, Mac, Ref, VidSet
from windrow.switches.cabling import seen_cabling

ETH1 = IfName("eth1")
LEG = Leg("n1", ETH1)
FOUND = Finding(
    reason=Reason.VLAN_MISSING,
    grade=Grade.ERROR,
    certainty=Certainty.LIKELY,
    message="VLAN 20 is missing on p1 of tor-1",
    fix=Fix(
        words="allow VLAN 20 on p1 of tor-1",
        ports=(PortFix(leg=LEG, switch="tor-1", port="p1", tagged=VidSet.of([10, 20])),),
    ),
    place="p1 of tor-1",
    about=Ref("VlanConfig", "oob"),
    network="oob",
    legs=(LEG,),
    vids=VidSet.of([20]),
    evidence=("probes: nobody heard it",),
    lacks="the switch's own list",
)


def plugged(system: str) -> Evidence:
    port = SwitchPort(
        source=Kind.LLDP,
        chassis=Identity(kind="mac", text="02:00:00:00:00:01"),
        port=Identity(kind="ifname", text="p1"),
        system=system,
    )
    nic = NicEvidence(name=ETH1, mac=Mac("52:54:00:00:00:01"), carrier=True, neighbours=(port,))
    return Evidence(nodes={"n1": NodeEvidence(node="n1", at=0.0, nics={ETH1: nic})})


def test_the_statements_are_asked_for_by_the_name_that_they_know() -> None:
    assert list(statement_lines([FOUND], seen_cabling(plugged("tor 1!")))) == [
        "statements: windrow switch config --switch tor-1 --delta"
    ]
    assert not list(statement_lines([FOUND], seen_cabling(Evidence()))), "nothing says which switch it is"
    assert not list(statement_lines([], seen_cabling(plugged("tor-1"))))
