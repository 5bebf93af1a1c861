"""What each field of a manifest is for, in a sentence or two: `windrow explain`, and the descriptions in the
CustomResourceDefinitions, which `kubectl explain` shows.

Limits, choices and defaults that a schema can say are not repeated here. `[+]`: beyond Harvester.
"""

from __future__ import annotations

from collections.abc import Mapping

from windrow.model.bonding import OPTIONS, BondOption

_TOP = {
    "apiVersion": "Group and version.",
    "kind": "The kind.",
    "metadata": "name, labels and annotations; namespace, where the kind has one.",
}
_CONDITIONS = {
    "status.conditions": "What is well and what is not, by type.",
    "status.conditions.type": "Such as ready.",
    "status.conditions.status": "True, False or Unknown.",
    "status.conditions.reason": "One word for programs.",
    "status.conditions.message": "A sentence for people.",
    "status.conditions.lastUpdateTime": "When it was last written.",
    "status.conditions.lastTransitionTime": "When status last changed.",
}

_CLUSTER_NETWORK = {
    "": "A layer-2 network of its own on all nodes that a VlanConfig of it selects: its devices are NAME-br and "
    "NAME-bo, so the name has 12 characters at most. mgmt is built in.",
    "status": "Written by Windrow.",
    **_CONDITIONS,
}

_BOND = {
    "mode": "How the NICs are used together; the switch must match it: a static channel for balance-rr, balance-xor "
    "and broadcast, LACP for 802.3ad, none for active-backup, balance-tlb and balance-alb. Absent: active-backup.",
    "miimon": "Milliseconds between two looks at the carrier of each NIC. -1 or absent: 100; 0: off.",
    "upDelay": "Milliseconds that a NIC must have carrier before it is used.",
    "downDelay": "Milliseconds that a NIC may be without carrier before it is given up.",
    "peerNotifDelay": "Milliseconds between two announcements after a failover.",
    "useCarrier": "Ask the driver for the carrier by netif_carrier_ok (on) or by ioctl (off).",
    "arpInterval": "Milliseconds between two ARP requests to the targets; 0: the ARP monitor is off.",
    "arpIPTargets": "Whom the ARP monitor asks.",
    "nsIP6Targets": "Whom the ARP monitor asks by neighbour solicitation.",
    "arpValidate": "On which NICs an answer must be one to our question.",
    "arpAllTargets": "Whether one target that answers is enough.",
    "missedMax": "So many intervals without an answer, and the NIC is given up.",
    "primary": "The NIC that is active whenever it can be.",
    "primaryReselect": "When the primary NIC takes over again after it came back.",
    "failOverMAC": "Whose MAC address the bond has: its own (none), or that of the active NIC (active, follow).",
    "xmitHashPolicy": "By what a flow finds its NIC.",
    "resendIGMP": "Membership reports after a failover.",
    "numPeerNotif": "Announcements after a failover.",
    "allSlavesActive": "Take frames that arrive on NICs which are not active.",
    "minLinks": "So many NICs must have a partner, or the bond has no carrier.",
    "lpInterval": "Seconds between two learning packets to the switch.",
    "packetsPerSlave": "Packets before it is the next NIC's turn; 0: by chance.",
    "tlbDynamicLB": "Move flows by load (on), or by hash (off).",
    "lacpRate": "Ask the partner for an LACPDU every 30 s (slow) or every second (fast).",
    "lacpActive": "Send LACPDUs also where nobody has sent one.",
    "adSelect": "Which aggregator is used where there are several.",
    "adActorSysPrio": "This system's priority in LACP.",
    "adUserPortKey": "The upper ten bits of the port's key in LACP.",
    "adActorSystem": "This system's id in LACP; else the bond's MAC address.",
}


def _bond(option: BondOption) -> str:
    """With what the kernel needs to change it, and for which modes it is."""
    modes = "" if len(option.modes) == len(BOND_MODES) else f" Modes: {', '.join(sorted(option.modes))}."
    needs = f" Needs {OPTIONS[option.needs].wire}." if option.needs else ""
    default = (
        "" if option.wire in ("mode", "miimon") or option.default in (None, ()) else f" Default: {option.default}."
    )
    beyond = "" if option.wire in ("mode", "miimon") else "[+] "
    return f"{beyond}{_BOND[option.wire]}{default}{modes}{needs}"


BOND_MODES = OPTIONS["mode"].choices

_VLAN_CONFIG = {
    "": "The uplink of a cluster network on the nodes that it selects: which NICs, in which bond.",
    "spec": "What is wanted.",
    "spec.description": "A text for people.",
    "spec.clusterNetwork": "The cluster network whose uplink this is.",
    "spec.nodeSelector": "Labels that a node must have, each with this value. Empty or absent: every node that is no "
    "witness.",
    "spec.uplink": "The NICs, and the bond that they form.",
    "spec.uplink.nics": "NICs by name, or [+] as {mac: …} by permanent MAC address, or {pci: …}. A node has at most "
    "one VlanConfig for a NIC.",
    "spec.uplink.linkAttributes": "Of the bond, its NICs and the bridge.",
    "spec.uplink.linkAttributes.mtu": "0 means 1500; else 576 to 9000. One MTU for a cluster network.",
    "spec.uplink.linkAttributes.txQLen": "Length of the transmit queue in packets; -1 or absent: left as it is.",
    "spec.uplink.linkAttributes.hardwareAddr": "The bond's MAC address; else that of its first NIC.",
    "spec.uplink.bondOptions": "Of Linux' bonding (Documentation/networking/bonding.rst). One that does not fit the "
    "mode is an error.",
    **{f"spec.uplink.bondOptions.{option.wire}": _bond(option) for option in OPTIONS.values()},
}

_VLAN_STATUS = {
    "": "What became of a VlanConfig on one node. Derived.",
    "status": "Written by Windrow.",
    "status.clusterNetwork": "The cluster network.",
    "status.vlanConfig": "The VlanConfig.",
    "status.linkMonitor": "The LinkMonitor that shows its links.",
    "status.node": "The node.",
    "status.localAreas": "The VLANs that the uplink carries.",
    "status.localAreas.vlanID": "A VID.",
    "status.localAreas.cidr": "The subnet that is known for it.",
    **_CONDITIONS,
}

_LINK_MONITOR = {
    "": "The state of links on the nodes that it selects. Windrow derives one for each cluster network.",
    "spec": "Which links, on which nodes.",
    "spec.nodeSelector": "Labels that a node must have. Empty or absent: every node.",
    "spec.targetLinkRule": "Which links; both rules must fit.",
    "spec.targetLinkRule.typeRule": "A regular expression for the kind, such as device or bond.",
    "spec.targetLinkRule.nameRule": "A regular expression for the name.",
    "status": "Written by Windrow.",
    "status.linkStatus": "The links of each node.",
    "status.linkStatus.name": "The link.",
    "status.linkStatus.type": "Its kind.",
    "status.linkStatus.mac": "Its MAC address.",
    "status.linkStatus.state": "up or down: whether it has carrier.",
    "status.linkStatus.index": "Its number in the kernel.",
    "status.linkStatus.masterIndex": "The number of the bond or bridge that it belongs to.",
    "status.linkStatus.promiscuous": "Whether it takes everybody's frames.",
    **_CONDITIONS,
}

_HOST_NETWORK_CONFIG = {
    "": "An address of the nodes themselves in a VLAN of a cluster network: makes NAME-br.VID.",
    "spec": "What is wanted.",
    "spec.description": "A text for people.",
    "spec.nodeSelector": "metav1.LabelSelector. Empty or absent: every node.",
    "spec.nodeSelector.matchLabels": "Labels that a node must have, each with this value.",
    "spec.nodeSelector.matchExpressions": "All of them must hold.",
    "spec.nodeSelector.matchExpressions.key": "A label.",
    "spec.nodeSelector.matchExpressions.operator": "How it is compared.",
    "spec.nodeSelector.matchExpressions.values": "With what; for In and NotIn.",
    "spec.clusterNetwork": "The cluster network. It cannot change.",
    "spec.underlay": "For kube-ovn, one for the cluster. Windrow makes the address and tells nobody.",
    "spec.vlanID": "The VLAN; [+] 0: untagged. It cannot change but on mgmt.",
    "spec.mode": "static: the addresses of ips; dhcp: the agent asks a server.",
    "spec.ips": "For each node its address with prefix length; [+] an IPv4 and an IPv6 one with a comma between.",
    "spec.gateway": "[+] The router behind which everything else is, of this address only unless defaultRoute says so.",
    "spec.gatewayOnLink": "[+] The gateway is on the link, though no network of the address has it.",
    "spec.metric": "[+] Of its routes; the lowest wins.",
    "spec.routes": "[+] Static routes.",
    "spec.routes.to": "A subnet.",
    "spec.routes.via": "The router; absent: on the link.",
    "spec.routes.metric": "The lowest wins.",
    "spec.routes.onLink": "The router is on the link, though no network of the address has it.",
    "spec.defaultRoute": "[+] Whether the gateway becomes the node's default route.",
    "spec.routerAdvertisements": "[+] Whether addresses and routers come by IPv6 router advertisements.",
    "spec.mtu": "[+] Smaller than that of the cluster network.",
    "status": "Written by Windrow.",
    "status.nodeStatus": "What became of it on each node.",
    "status.nodeStatus.clusterNetwork": "The cluster network.",
    "status.nodeStatus.vlanID": "The VLAN.",
    "status.nodeStatus.mode": "static or dhcp.",
    "status.nodeStatus.interface": "[+] The link that has the address.",
    "status.nodeStatus.addresses": "[+] What it has.",
    "status.nodeStatus.lease": "[+] What the DHCP server gave, until when.",
    **{key.replace("status.", "status.nodeStatus.", 1): text for key, text in _CONDITIONS.items()},
    **_CONDITIONS,
}

_IP_POOL = {
    "": "The addresses of one network's machines; who has which is decided here, and a DHCP server only says so.",
    "spec": "What is wanted.",
    "spec.networkName": "The NetworkAttachmentDefinition, as NAMESPACE/NAME. It cannot change.",
    "spec.paused": "true: nobody serves it, and everybody keeps what they have.",
    "spec.ipv4Config": "The subnet and what its clients are told.",
    "spec.ipv4Config.cidr": "The subnet. It cannot change.",
    "spec.ipv4Config.serverIP": "The server's own address; absent: the lowest that is not router and not excluded.",
    "spec.ipv4Config.pool": "From where to where; absent: the whole subnet.",
    "spec.ipv4Config.pool.start": "The first address.",
    "spec.ipv4Config.pool.end": "The last one.",
    "spec.ipv4Config.pool.exclude": "Addresses that are given to nobody.",
    "spec.ipv4Config.router": "The default router (option 3).",
    "spec.ipv4Config.dns": "Name servers (option 6).",
    "spec.ipv4Config.domainName": "The domain (option 15).",
    "spec.ipv4Config.domainSearch": "Domains to search (option 119).",
    "spec.ipv4Config.ntp": "Time servers (option 42); a name is left out, for DHCP carries addresses.",
    "spec.ipv4Config.leaseTime": "Seconds; absent: a year.",
    "spec.ipv4Config.mtu": "[+] Option 26; absent: that of the cluster network, where it is not 1500.",
    "spec.ipv4Config.routes": "[+] Static routes (option 121); the default route is repeated in it.",
    "spec.ipv4Config.routes.to": "A subnet.",
    "spec.ipv4Config.routes.via": "The router.",
    "spec.hosts": "[+] MAC addresses that are no machine's of the cluster.",
    "spec.hosts.macAddress": "Whose.",
    "spec.hosts.ipAddress": "Which address; absent: the lowest that is free.",
    "spec.hosts.hostname": "The name it is told (option 12).",
    "spec.nodes": "[+] Who may serve it, the first of them first; absent: the first node with the cluster network.",
    "spec.program": "[+] The DHCP server; absent: dnsmasq.",
    "spec.routerAdvertisement": "[+] IPv6: prefix, and routerLifetime (0: somebody else is the router).",
    "status": "Written by Windrow.",
    "status.lastUpdate": "When.",
    "status.ipv4": "What was given.",
    "status.ipv4.allocated": "Address → MAC address, EXCLUDED or RESERVED.",
    "status.ipv4.used": "So many are given.",
    "status.ipv4.available": "So many are left.",
    "status.agentPodRef": "The pod of Harvester's that serves; Windrow has none.",
    **{f"status.agentPodRef.{key}": "Of that pod." for key in ("namespace", "name", "image", "uid")},
    **_CONDITIONS,
}

_MACHINE_CONFIG = {
    "": "The addresses that a machine asks of pools.",
    "spec": "What is wanted.",
    "spec.vmName": "The machine. It cannot change.",
    "spec.paused": "true: it asks for nothing, and keeps what it has.",
    "spec.networkConfigs": "One for each NIC.",
    "spec.networkConfigs.networkName": "The NetworkAttachmentDefinition, as NAMESPACE/NAME.",
    "spec.networkConfigs.macAddress": "The NIC.",
    "spec.networkConfigs.ipAddress": "Which address; absent: the lowest that is free.",
    "status": "Written by Windrow.",
    "status.networkConfigs": "What each NIC was given.",
    "status.networkConfigs.allocatedIPAddress": "The address.",
    "status.networkConfigs.macAddress": "The NIC.",
    "status.networkConfigs.networkName": "The network.",
    "status.networkConfigs.state": "Allocated, Pending or Stale.",
    **_CONDITIONS,
}

_NETWORK = {
    "": "A network for machines and pods (Network Plumbing Working Group).",
    "spec": "What is wanted.",
    "spec.config": "A CNI configuration as JSON text. type bridge and bridge NAME-br: a network of cluster network "
    "NAME; vlan: 100 is that VLAN, no vlan is untagged, vlanTrunk: [{minID: 100, maxID: 110}, {id: 200}] a trunk; "
    "mtu, ipam, macspoofchk as the bridge plugin has them.",
}

WORDS: Mapping[str, Mapping[str, str]] = {
    "ClusterNetwork": _TOP | _CLUSTER_NETWORK,
    "VlanConfig": _TOP | _VLAN_CONFIG,
    "VlanStatus": _TOP | _VLAN_STATUS,
    "LinkMonitor": _TOP | _LINK_MONITOR,
    "HostNetworkConfig": _TOP | _HOST_NETWORK_CONFIG,
    "IPPool": _TOP | _IP_POOL,
    "VirtualMachineNetworkConfig": _TOP | _MACHINE_CONFIG,
    "NetworkAttachmentDefinition": _TOP | _NETWORK,
}
"""Kind -> path -> words; the empty path is the kind itself. Members of lists and maps have their list's path."""
