"""What this kernel can do, by trying it; never by its version.

Trying happens in a namespace that is thrown away. A kernel that loads a module on demand would keep it, and
`bonding` would also leave a `bond0` in the first namespace (`bonding_init`: max_bonds=1): so a module that is
on disk and not yet loaded counts as there, without a try. The one exception is `bridge`, which makes no links
by itself, and which must be asked whether it was built with VLAN filtering.
"""

from __future__ import annotations

import _socket as socket  # quicker to load than `socket`, see `sock`
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from windrow.model.bridging import BRIDGE_NETFILTER
from windrow.model.facts import KernelFeatures
from windrow.model.filters import DIRECTORIES
from windrow.netlink import links, netns, observe, sysctl
from windrow.netlink.codec import NLA_F_NESTED, pack_attr
from windrow.netlink.errors import MODULES, KernelError
from windrow.netlink.nftnews import FAMILIES, NETLINK_NETFILTER, NFGENMSG, NFNL_SUBSYS_NFTABLES, TABLE_NAME
from windrow.netlink.sock import NLM_F_CREATE, Message, Rtnl


def probe(where: netns.Netns = None) -> KernelFeatures:
    """What this kernel can do; `where` matters for br_netfilter and IPv6 alone. Raises KernelError if it cannot be
    entered."""
    return settled(tried(), where)


def tried() -> KernelFeatures:
    """What this kernel can do for as long as it runs; `settled` adds what changes meanwhile.

    Who may not make namespaces (no CAP_SYS_ADMIN) is told what modules are loaded or on disk, and where that is hidden,
    that all are there: the kernel says no when it is asked. VLAN filtering then counts as there if the bridge is, and
    snooping by VLAN does.
    """
    try:
        return netns.in_new(_try)
    except KernelError:
        # snooping: only a bridge can tell; who may make none may not carry out a plan either
        kinds = ("bond", "bridge", "vlan", "vxlan", "wireguard")
        hidden = not (KERNELS / os.uname().release).is_dir()
        bonding, filtering, vlans, vxlan, wireguard = (
            hidden or _loaded(kind) or loadable(MODULES[kind]) for kind in kinds
        )
        return KernelFeatures(
            bonding=bonding, vlan_filtering=filtering, vlan_interfaces=vlans, vxlan=vxlan, wireguard=wireguard
        )


def settled(known: KernelFeatures, where: netns.Netns = None) -> KernelFeatures:
    """With what others change when they like: the module br_netfilter, IPv6, and whether nft is installed. Raises
    KernelError."""

    def look() -> tuple[bool, str | None]:
        return sysctl.path_of(BRIDGE_NETFILTER[0]).exists(), sysctl.read("net/ipv6/conf/default/disable_ipv6")

    netfilter, off = netns.opened_in(where, look)
    rules = known.bridge_rules and any(os.access(os.path.join(place, "nft"), os.X_OK) for place in DIRECTORIES)
    return replace(
        known,
        bridge_netfilter=netfilter,
        ipv6=off is not None,
        ipv6_on=off == "0",
        bridge_rules=rules,
        bridge_conntrack=rules and known.bridge_conntrack,
    )


def _try() -> KernelFeatures:
    """Inside a new namespace."""
    with Rtnl() as rtnl:
        filtering = _accepted(rtnl, lambda: links.create("b", "bridge", data={"vlan_filtering": 1}))
        filtering = filtering and _filters(rtnl)
        snooping = filtering and _accepted(rtnl, lambda: links.create("s", "bridge", data=_SNOOPING))
        snooping = snooping and any(observe.snoops_by_vlan(raw) for raw in observe.dump_links(rtnl))
        bonding = _waiting("bond") or _accepted(rtnl, lambda: links.create("o", "bond"))
        vlans = _waiting("vlan") or _accepted(
            rtnl, lambda: links.create("v", "vlan", parent=rtnl.index("b"), data={"vid": 2})
        )
        wireguard = _waiting("wireguard") or _accepted(rtnl, lambda: links.create("w", "wireguard"))
        vxlan = _waiting("vxlan") or _accepted(rtnl, lambda: links.create("x", "vxlan", data=_VXLAN))
    tables, connections = takes_bridge_rules()
    return KernelFeatures(
        bonding=bonding,
        vlan_filtering=filtering,
        vlan_interfaces=vlans,
        vlan_snooping=snooping,
        vxlan=vxlan,
        wireguard=wireguard,
        bridge_rules=tables,
        bridge_conntrack=connections,
    )


_SNOOPING = {"vlan_filtering": 1, "boolopts": (1 << 1, 1 << 1)}
"""A kernel that does not know the bit ignores it (`br_boolopt_multi_toggle`); one without IGMP snooping refuses it."""
_NFNL_BATCH = (0x10, 0x11)
"""NFNL_MSG_BATCH_BEGIN and END."""
_NEWTABLE, _NEWCHAIN, _NEWRULE = 0, 3, 6
"""NFT_MSG_NEWTABLE and so on."""
_CHAIN_NAME, _RULE_CHAIN, _RULE_EXPRS, _ELEMENT, _EXPR_NAME, _EXPR_DATA = 3, 2, 4, 1, 1, 2
"""NFTA_CHAIN_NAME, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS, NFTA_LIST_ELEM, NFTA_EXPR_NAME, NFTA_EXPR_DATA."""
_CT_LABELS = pack_attr(1, b"\0\0\0\1") + pack_attr(2, (13).to_bytes(4))
"""NFTA_CT_DREG: NFT_REG_1; NFTA_CT_KEY: NFT_CT_LABELS, which a kernel may lack (CONFIG_NF_CONNTRACK_LABELS)."""
_CONNECTIONS = "nf_conntrack_bridge"
KERNELS = Path("/lib/modules")
"""By release: the lists of the modules that each kernel has."""
_VXLAN = {"vni": 1, "port": 8472, "learning": 0}


def _accepted(rtnl: Rtnl, message: Callable[[], Message]) -> bool:
    try:
        rtnl.run(message())
    except KernelError:
        return False
    return True


def takes_bridge_rules() -> tuple[bool, bool]:
    """Whether nftables makes a table of the family bridge (`nft_supported_family`), and in it a rule about connections
    (`nf_ct_netns_get`: EPROTO without nf_conntrack_bridge). The answers to the begin and the end of a batch come since
    Linux 6.10 only; those to what is in between always do. A kernel that would have to load nftables for it is not
    asked: nf_conntrack_bridge is younger (Linux 5.3), and not on every disk."""
    if not os.path.exists("/sys/module/nf_tables") and loadable("nf_tables"):
        return True, loadable(_CONNECTIONS) or _is_built_in(_CONNECTIONS)
    named = pack_attr(TABLE_NAME, b"windrow\0")
    labels = pack_attr(_EXPR_NAME, b"ct\0") + pack_attr(_EXPR_DATA | NLA_F_NESTED, _CT_LABELS)
    expressions = pack_attr(_ELEMENT | NLA_F_NESTED, labels)
    rule = pack_attr(_RULE_CHAIN, b"c\0") + pack_attr(_RULE_EXPRS | NLA_F_NESTED, expressions)
    bodies = {_NEWTABLE: named, _NEWCHAIN: named + pack_attr(_CHAIN_NAME, b"c\0"), _NEWRULE: named + rule}
    header = NFGENMSG.pack(FAMILIES["bridge"], 0, 0)
    made = [Message(NFNL_SUBSYS_NFTABLES << 8 | kind, header + body, NLM_F_CREATE) for kind, body in bodies.items()]
    subsystem = NFGENMSG.pack(0, 0, socket.htons(NFNL_SUBSYS_NFTABLES))
    begin, end = (Message(type_, subsystem) for type_ in _NFNL_BATCH)
    with Rtnl(NETLINK_NETFILTER) as nft:
        _, table, _, about_connections, _ = nft.burst([begin, *made, end])
    return table is None, about_connections is None or (table is None and loadable(_CONNECTIONS))


def _filters(rtnl: Rtnl) -> bool:
    """A bridge without CONFIG_BRIDGE_VLAN_FILTERING accepts the option and ignores it (`br_changelink`)."""
    raws = observe.dump_links(rtnl)
    return any(raw.data.get("vlan_filtering") == 1 for raw in raws)


def _waiting(kind: str) -> bool:
    return not _loaded(kind) and loadable(MODULES[kind])


def _loaded(kind: str) -> bool:
    """These modules have parameters or a version, so sysfs shows them also when they are built in."""
    return os.path.exists(f"/sys/module/{MODULES[kind]}")


def loadable(module: str) -> bool:
    """Whether the kernel would load the module by itself on RTM_NEWLINK (`rtnl_newlink`: request_module)."""
    if sysctl.read("kernel.modules_disabled") == "1" or not os.access(sysctl.read("kernel.modprobe") or "", os.X_OK):
        return False
    return _is_listed(module, "modules.dep")


def _is_built_in(module: str) -> bool:
    return _is_listed(module, "modules.builtin")


def _is_listed(module: str, file: str) -> bool:
    try:
        listed = (KERNELS / os.uname().release / file).read_text()
    except OSError:
        return False
    return re.search(rf"(^|/){re.escape(module)}\.ko(\.\w+)?(:|$)", listed, re.MULTILINE) is not None
