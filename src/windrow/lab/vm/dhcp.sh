#!/bin/busybox sh
# What udhcpc knows becomes the NIC's: an address, a default route by it, and a line on the first serial line.

export PATH=/bin
case "$1" in
deconfig)
    rm -f "/run/lease.$interface"
    ip addr flush dev "$interface"
    ip link set "$interface" up
    ;;
bound | renew)
    [ "$1" = renew ] && ip addr show dev "$interface" | grep -q " $ip/$mask " && exit
    ip addr flush dev "$interface"
    ip addr add "$ip/$mask" brd + dev "$interface"
    # The first NIC's router is the one that is used.
    [ -z "$router" ] || ip route add default via "${router%% *}" dev "$interface" metric "10${interface#eth}"
    echo "lease $interface $ip/$mask from $serverid for ${lease:-0} s" | tee "/run/lease.$interface" >/dev/console
    ;;
esac
