"""From the pod's network interface to the guest's, as values and texts; nothing here touches a device or a program.

names        how the devices between the two are called
binding      what is seen in the pod + what the manifest says -> NicPlan: everything that is to be made for one NIC
dhcp         the answer of the server in the pod, and the configuration of dnsmasq that gives it
masquerade   the address translation of the pod network, for nftables and for iptables
qemu         the arguments that start a machine, and the QMP commands that change its NICs
libvirt      the same for people who run their own hypervisor
"""
