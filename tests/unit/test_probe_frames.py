"""Probe frames and reports as bytes: both ways, and whatever else may come in."""

from __future__ import annotations

import json
import os
import random
import tracemalloc
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from windrow.frames import report
from windrow.frames.probe import (
    BODY_MAX,
    BROADCAST,
    HEADER,
    Chunk,
    Foreign,
    Kind,
    Probe,
    Refusal,
    Run,
    Secret,
    decode,
    encode,
    ethernet,
    mac_of,
)
from windrow.model import evidence as ev
from windrow.model.evidence import Heard, Leg, NicEvidence, NodeEvidence
from windrow.model.values import IfName, Mac, Vid, VidSet
from windrow.model.wire.evidence import evidence_document, node_document, read_evidence, read_node

SECRET = Secret.of_key(b"k" * 32)
ETH0, ETH1 = IfName("eth0"), IfName("eth1")
PROBE = Probe(
    kind=Kind.BROADCAST,
    sender=Leg("node-a.example", ETH0),
    vid=100,
    run=Run(1_800_000_000_000, 12345),
    sweep=7,
    sequence=99,
    time=1_800_000_000,
    echo=2**64 - 1,
    broadcasts=3,
    aim=77,
    again=300,
    call=True,
)

names = st.text(min_size=1, max_size=60).map(
    lambda text: text.encode(errors="surrogatepass").decode("utf-8", "replace")
)
numbers = st.integers(0, 2**32 - 1)


@given(
    probe=st.builds(
        Probe,
        kind=st.sampled_from([Kind.BROADCAST, Kind.UNICAST, Kind.NOTICE, Kind.LARGE]),
        sender=st.builds(Leg, names, st.text("abcdefgh0123.-", min_size=1, max_size=15).map(IfName)),
        vid=st.integers(0, 4094),
        run=st.builds(Run, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1)),
        sweep=numbers,
        sequence=st.integers(0, 2**64 - 1),
        time=numbers,
        echo=st.integers(0, 2**64 - 1),
        broadcasts=st.integers(0, 65535),
        aim=numbers,
        largest=st.integers(0, 65535),
        again=st.integers(0, 65535),
        call=st.booleans(),
        size=st.sampled_from([0, 1500, 9000]),
    ),
    padding=st.binary(max_size=50),
)
def test_both_ways(probe: Probe, padding: bytes) -> None:
    """Also with what Ethernet fills a frame up with."""
    data = encode(probe, SECRET)
    read = decode(data + padding, SECRET)
    assert read == replace(probe, size=len(data))


@pytest.mark.parametrize("size", [1, 1500, 9000])
def test_a_long_one_has_just_that_length(size: int) -> None:
    data = encode(replace(PROBE, kind=Kind.LARGE, size=size), SECRET)
    assert len(data) == max(size, HEADER + len("node-a.example") + len("eth0"))


def test_every_bit_counts() -> None:
    """One that is turned is noticed, wherever it is."""
    data = encode(PROBE, SECRET)
    for at in range(8 * len(data)):
        changed = bytearray(data)
        changed[at // 8] ^= 1 << at % 8
        assert not isinstance(decode(bytes(changed), SECRET), Probe)


@pytest.mark.parametrize("length", range(HEADER + 18))
def test_what_is_cut_is_no_probe(length: int) -> None:
    assert decode(encode(PROBE, SECRET)[:length], SECRET) in (Refusal.OTHER, Refusal.MALFORMED)


def test_another_cluster_is_known_without_its_key() -> None:
    other = Secret.of_key(b"o" * 32)
    assert decode(encode(PROBE, other), SECRET) == Foreign(other.cluster.hex())


def test_another_key_of_the_same_cluster_is_forged() -> None:
    forger = Secret(key=b"guess", cluster=SECRET.cluster, authentic=False)
    assert decode(encode(PROBE, forger), SECRET) is Refusal.FORGED


def test_without_a_key_the_names_are_one() -> None:
    one, same, other = Secret.derived(["oob", "mgmt"]), Secret.derived(["mgmt", "oob"]), Secret.derived(["mgmt"])
    assert one == same != other
    assert not one.authentic
    assert SECRET.authentic
    assert isinstance(decode(encode(PROBE, one), same), Probe)
    assert one.cluster not in one.key


@pytest.mark.parametrize(
    "change",
    [{"kind": 0}, {"kind": 99}, {"vid": 4095}, {"kind": Kind.REPORT}, {"chunk": Chunk(1, 0, 1, b"x")}],
)
def test_what_is_signed_right_may_be_wrong_all_the_same(change: dict[str, object]) -> None:
    assert decode(encode(replace(PROBE, **change), SECRET), SECRET) is Refusal.MALFORMED  # type: ignore[arg-type]


@pytest.mark.parametrize("chunk", [Chunk(1, 5, 5, b"x"), Chunk(1, 0, 1, b"x" * (BODY_MAX + 1))])
def test_parts_of_reports_that_cannot_be(chunk: Chunk) -> None:
    assert decode(encode(replace(PROBE, kind=Kind.REPORT, chunk=chunk), SECRET), SECRET) is Refusal.MALFORMED


@pytest.mark.parametrize("change", [{"vid": -1}, {"broadcasts": 70_000}, {"echo": 2**64}])
def test_what_cannot_be_said_is_not_sent(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="cannot say"):
        encode(replace(PROBE, **change), SECRET)  # type: ignore[arg-type]


def test_addresses_are_local_stable_and_different() -> None:
    legs = [Leg(f"node-{n}", IfName(f"eth{k}")) for n in range(100) for k in range(4)]
    macs = {mac_of(secret, leg) for secret in (SECRET, Secret.derived(["oob"])) for leg in legs}
    assert len(macs) == 800
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs), "locally administered, of one station"
    assert mac_of(SECRET, legs[0]) == mac_of(Secret.of_key(b"k" * 32), legs[0])


def test_a_frame() -> None:
    frame = ethernet(b"payload", to=BROADCAST, source="02:00:00:00:00:01", vid=100)
    assert frame == b"\xff" * 6 + bytes.fromhex("0200000000018100006488b5") + b"payload"
    assert ethernet(b"payload", to=BROADCAST, source="02:00:00:00:00:01", vid=0)[12:] == b"\x88\xb5payload"


def test_whatever_comes_in() -> None:
    """Random bytes, and probes with random changes, signed anew or not. `WINDROW_FRAMES=1000000` for a million."""
    chance = random.Random(4)
    good = [encode(PROBE, SECRET), encode(replace(PROBE, kind=Kind.REPORT, chunk=Chunk(1, 0, 2, b"x" * 99)), SECRET)]
    kinds: set[object] = set()
    for number in range(int(os.environ.get("WINDROW_FRAMES", "20000"))):
        if number % 10 == 0:
            data = chance.randbytes(chance.randrange(300))
        else:
            changed = bytearray(chance.choice(good))
            for _ in range(chance.randrange(1, 4)):
                changed[chance.randrange(8 if number % 3 else 0, len(changed))] = chance.randrange(256)
            data = bytes(changed[: chance.randrange(len(changed))] if number % 7 == 0 else changed)
            data = _signed(data) if number % 2 else data
        found = decode(data, SECRET)
        kinds.add(type(found) if not isinstance(found, Refusal) else found)
    assert kinds >= {Probe, Foreign, Refusal.OTHER, Refusal.VERSION, Refusal.MALFORMED, Refusal.FORGED}


def _signed(data: bytes) -> bytes:
    """As somebody would who has the key."""
    import hmac

    if len(data) < HEADER:
        return data
    length = int.from_bytes(data[6:8], "big")
    rest = data[32:length] if length <= len(data) else data[32:]
    return data[:16] + hmac.digest(SECRET.key, data[:16] + rest, "sha256")[:16] + data[32:]


# Reports ------------------------------------------------------------------------------------------


def full() -> NodeEvidence:
    side = ev.LacpSide(system=Mac("02:00:00:00:00:01"), key=1, port=2, state=63)
    port = ev.SwitchPort(
        source=ev.Kind.LLDP,
        chassis=ev.Identity(kind="mac", text="02:00:00:00:00:09"),
        port=ev.Identity(kind="ifname", text="Ethernet7"),
        system="sw1",
        vlans={Vid(100): "prod"},
        aggregation=ev.Aggregation(capable=True, active=True, port_id=9),
        pvid=0,
        management=("10.0.0.1",),
    )
    nic = NicEvidence(
        name=ETH0,
        mac=Mac("02:00:00:00:00:01"),
        carrier=True,
        carrier_since=1.5,
        cluster_network="oob",
        speed=25_000,
        neighbours=(port,),
        lacp=ev.LacpLeg(aggregator=1, actor=side, partner=side),
        counters=ev.Counters(received=1, over_s=2.5),
    )
    heard = [
        Heard(
            sender=Leg("b", ETH1), receiver=Leg("a", ETH0), vid=vid, arrived=vid, sent=4, count=4, broadcast=3, at=9.0
        )
        for vid in range(100, 300)
    ]
    odd = Heard(sender=Leg("b", ETH1), receiver=Leg("a", ETH0), vid=7, arrived=0, sent=4, count=1, duplicates=2)
    vlan = ev.VlanEvidence(
        cluster_network="oob",
        vid=100,
        asked=frozenset({ev.Kind.DHCP, ev.Kind.ARP}),
        offers=(ev.DhcpOffer(server="10.0.0.1", server_mac=Mac("02:00:00:00:00:01"), address="10.0.0.2", prefix=24),),
        gateways=(ev.Answer(address="10.0.0.1", macs=(Mac("02:00:00:00:00:01"),)),),
        routers=(ev.RouterAdvert(router="fe80::1", mac=Mac("02:00:00:00:00:01"), lifetime_s=1800),),
    )
    return NodeEvidence(
        node="a",
        at=1234.5,
        nics={ETH0: nic},
        heard=(*heard, odd),
        probed={ETH0: VidSet.span(100, 299)},
        vlans=(vlan,),
        foreign=(ev.ForeignCluster(cluster="ab" * 8, vid=3, frames=4),),
        rejected={"forged": 3},
        authenticated=True,
        sweep=4,
        absent=(ev.Absent(kind=ev.Kind.LLDP, reason="the firmware keeps it", nic=ETH0),),
    )


def test_a_report_both_ways() -> None:
    packed = report.pack(full())
    assert report.unpack(packed, "a") == full()
    assert len(packed) < BODY_MAX, "200 VLANs that are alike are one line"


def test_a_report_is_of_who_sends_it() -> None:
    assert report.unpack(report.pack(full()), "b") is None


def test_evidence_both_ways_as_json() -> None:
    both = ev.Evidence(nodes={"a": full()}, silent=frozenset({"c"}))
    assert read_evidence(json.loads(json.dumps(evidence_document(both)))) == both


def test_a_report_in_parts_in_any_order() -> None:
    parts = list(report.chunks(3, bytes(random.Random(1).randbytes(5000))))
    assert len(parts) == 5
    random.Random(2).shuffle(parts)
    found = report.Assembly()
    for part in (*parts[:2], *parts[:2], *parts[2:]):
        assert found.whole is None
        found = found.plus(part)
    assert found.whole == bytes(random.Random(1).randbytes(5000))
    older = found.plus(Chunk(2, 0, 1, b"old"))
    assert older == found
    assert found.plus(Chunk(4, 0, 2, b"new")).whole is None
    assert found.plus(Chunk(4, 0, 1, b"new")).whole == b"new"
    assert found.plus(Chunk(5, 0, report.CHUNKS_MAX + 1, b"long")) == found


def test_what_does_not_fit_is_left_out_and_said() -> None:
    chance = random.Random(3)
    heard = tuple(
        Heard(
            sender=Leg(f"{chance.randrange(10**9)}", ETH0),
            receiver=Leg("a", ETH0),
            vid=vid,
            arrived=chance.randrange(4095),
            sent=4,
            count=chance.randrange(255),
            at=chance.random(),
        )
        for vid in range(1, 4000)
    )
    packed = report.pack(replace(full(), heard=heard))
    assert len(packed) <= report.PACKED_MAX
    found = report.unpack(packed, "a")
    assert found is not None
    assert not found.heard
    assert "do not fit" in found.absent[0].reason


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no zlib",
        zlib.compress(b"no json"),
        zlib.compress(b"[]"),
        zlib.compress(b'{"node": "a"}'),
        zlib.compress(b'{"node": "a", "at": NaN}'),
        zlib.compress(b'{"node": "a", "at": 1e400}'),
        zlib.compress(b'{"node": "a", "at": 1, "more": 2}'),
        zlib.compress(b'{"node": "a", "at": 1, "sweep": -99999999999999999999999}'),
        zlib.compress(b'{"node": "a", "at": 1, "nics": {"eth0": {"name": "eth0", "mac": "x", "carrier": true}}}'),
        zlib.compress(b'{"node": "a", "at": 1, "heard": [["b", "eth0", "eth0", "1-4094", -1, 1]]}'),
        zlib.compress(b'{"node": "a", "at": 1, "probed": {"eth0": "5-1"}}'),
        zlib.compress(b"[" * 100_000),
        zlib.compress(b" " * 50_000_000),
        zlib.compress(b'{"node": "a", "at": ' + b"9" * 6000 + b"}"),
        zlib.compress(json.dumps(node_document(full())).encode())[:-5],
    ],
    ids=range(16),
)
def test_what_is_no_report(data: bytes) -> None:
    assert report.unpack(data, "a") is None


def test_rows_that_would_become_too_many() -> None:
    row = ["b", "eth0", "eth0", "1-4094", -1, 4, 4, 4, 0, 0, 0, 0, 1, 1.0]
    assert len(read_node({"node": "a", "at": 1, "heard": [row]}).heard) == 4094
    with pytest.raises(ValueError, match="more was heard"):
        read_node({"node": "a", "at": 1, "heard": [row] * 100})


def test_reports_with_changes() -> None:
    """Documents with a random value in some place, packed right: a value, or None."""
    chance = random.Random(5)
    text = json.dumps(node_document(full()))
    found = {True: 0, False: 0}
    for _ in range(int(os.environ.get("WINDROW_FRAMES", "20000")) // 20):
        at = chance.randrange(len(text))
        changed = text[:at] + chance.choice('0"[]{}:,-x9') + text[at + chance.randrange(3) :]
        found[report.unpack(zlib.compress(changed.encode()), "a") is None] += 1
    assert found[True] and found[False]


def test_what_a_node_heard_is_kept_as_it_was_told() -> None:
    """One by one it would be 260,000 values, 35 MB: of each node that a large cluster has."""
    rows = [[f"n{n}", "eth0", "eth0", "1-4094", -1, 4, 4, 4, 0, 0, 0, 0, 1, 1.0] for n in range(64)]
    tracemalloc.start()
    try:
        found = read_node({"node": "a", "at": 1, "heard": rows})
        kept, _ = tracemalloc.get_traced_memory()
        last = list(zip(range(3), found.heard, strict=False))[-1][1]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.heard) == 64 * 4094
    assert (last.sender.node, last.vid, last.arrived, last.count) == ("n0", 3, 3, 4)
    assert max(kept, peak) < 1 << 20


def test_what_was_heard_is_the_same_one_by_one() -> None:
    one = full()
    again = read_node(node_document(one))
    assert again == one and one == again
    assert tuple(again.heard) == tuple(one.heard) and again.heard[0] == one.heard[0]
    assert again != replace(one, heard=tuple(one.heard)[1:])
    assert node_document(again) == node_document(one)
