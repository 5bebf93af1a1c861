"""Programs that others wrote and that Windrow runs: CNI plugins, nft, iptables, dnsmasq, QEMU.

Nothing is decided here.
"""
