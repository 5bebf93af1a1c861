"""The rules between a masqueraded guest and its pod, as KubeVirt has them."""

from __future__ import annotations

from windrow.model.machines import ForwardedPort
from windrow.model.values import IfName
from windrow.port.vm.masquerade import Masquerade, iptables, nft

FOUR = ("10.0.2.2", "10.0.2.1")
SIX = ("fd10:0:2::2", "fd10:0:2::1")


def rules(*guests: tuple[str, str], ports: tuple[ForwardedPort, ...] = ()) -> Masquerade:
    return Masquerade(pod=IfName("eth0"), bridge=IfName("k6t-eth0"), guests=guests, ports=ports)


PORTS = (ForwardedPort(port=80), ForwardedPort(port=53, protocol="UDP"))


def test_nft() -> None:
    assert nft(rules(FOUR)) == (
        """\
table ip nat {
	chain prerouting { type nat hook prerouting priority -100; }
	chain input { type nat hook input priority 100; }
	chain output { type nat hook output priority -100; }
	chain postrouting { type nat hook postrouting priority 100; }
	chain KUBEVIRT_PREINBOUND { }
	chain KUBEVIRT_POSTINBOUND { }
}
flush chain ip nat prerouting
flush chain ip nat input
flush chain ip nat output
flush chain ip nat postrouting
flush chain ip nat KUBEVIRT_PREINBOUND
flush chain ip nat KUBEVIRT_POSTINBOUND
add rule ip nat prerouting iifname "eth0" counter jump KUBEVIRT_PREINBOUND
add rule ip nat postrouting ip saddr 10.0.2.2 counter masquerade
add rule ip nat postrouting oifname "k6t-eth0" counter jump KUBEVIRT_POSTINBOUND
add rule ip nat KUBEVIRT_PREINBOUND counter dnat to 10.0.2.2
add rule ip nat KUBEVIRT_POSTINBOUND ip saddr { 127.0.0.1 } counter snat to 10.0.2.1
add rule ip nat output ip daddr { 127.0.0.1 } counter dnat to 10.0.2.2
"""
    )


def test_nft_of_both_families_is_one_transaction() -> None:
    text = nft(rules(FOUR, SIX))
    assert text.startswith(nft(rules(FOUR)))
    rest = text.removeprefix(nft(rules(FOUR))).splitlines()
    assert rest[0] == "table ip6 nat {"
    assert "add rule ip6 nat postrouting ip6 saddr fd10:0:2::2 counter masquerade" in rest
    assert "add rule ip6 nat output ip6 daddr { ::1 } counter dnat to fd10:0:2::2" in rest


def test_nft_with_ports_forwards_these_only() -> None:
    text = [line for line in nft(rules(FOUR, ports=PORTS)).splitlines() if "NBOUND " in line or " output " in line]
    assert [line.removeprefix("add rule ip nat ") for line in text if line.startswith("add rule")] == [
        "KUBEVIRT_PREINBOUND tcp dport 80 counter dnat to 10.0.2.2",
        "KUBEVIRT_POSTINBOUND tcp dport 80 ip saddr { 127.0.0.1 } counter snat to 10.0.2.1",
        "output ip daddr { 127.0.0.1 } tcp dport 80 counter dnat to 10.0.2.2",
        "KUBEVIRT_PREINBOUND udp dport 53 counter dnat to 10.0.2.2",
        "KUBEVIRT_POSTINBOUND udp dport 53 ip saddr { 127.0.0.1 } counter snat to 10.0.2.1",
        "output ip daddr { 127.0.0.1 } udp dport 53 counter dnat to 10.0.2.2",
    ]


def test_iptables_says_the_same() -> None:
    assert iptables(rules(FOUR, SIX), 4) == (
        """\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBEVIRT_PREINBOUND - [0:0]
:KUBEVIRT_POSTINBOUND - [0:0]
-A PREROUTING -i eth0 -j KUBEVIRT_PREINBOUND
-A POSTROUTING -s 10.0.2.2 -j MASQUERADE
-A POSTROUTING -o k6t-eth0 -j KUBEVIRT_POSTINBOUND
-A KUBEVIRT_PREINBOUND -j DNAT --to-destination 10.0.2.2
-A KUBEVIRT_POSTINBOUND -s 127.0.0.1/32 -j SNAT --to-source 10.0.2.1
-A OUTPUT -d 127.0.0.1/32 -j DNAT --to-destination 10.0.2.2
COMMIT
"""
    )


def test_iptables_of_the_other_family() -> None:
    text = iptables(rules(FOUR, SIX, ports=PORTS), 6)
    assert "-A POSTROUTING -s fd10:0:2::2 -j MASQUERADE\n" in text
    assert "-A KUBEVIRT_PREINBOUND -p udp --dport 53 -j DNAT --to-destination fd10:0:2::2\n" in text
    assert "-A OUTPUT -p tcp --dport 80 -d ::1/128 -j DNAT --to-destination fd10:0:2::2\n" in text
    assert iptables(rules(FOUR), 6) == ""
