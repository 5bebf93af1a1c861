#!/bin/busybox sh
# Process 1 of a guest: drivers, a name, addresses, and then whoever asks for something.
#
# What to be comes from the kernel's command line, and from cloud-init's NoCloud disk (label CIDATA), which wins:
#
#   guest.hostname=NAME            meta-data:       local-hostname: NAME
#   guest.eth1=dhcp                network-config:  version 2; of ethernets: match, macaddress, mtu, dhcp4, addresses,
#   guest.eth1=10.0.0.2/24                          gateway4, routes (to the default only)
#   guest.eth1=10.0.0.2/24,10.0.0.1
#   guest.eth1.100=10.0.0.2/24     user-data:       run, where it starts with #!
#
# If nothing is said about any NIC, each asks for an address by DHCP.
# On the first serial line there are a line for each address and a shell. On the second one commands are answered,
# a line `? ID BASE64` with a line `= ID EXIT BASE64` (windrow.lab.vm.agent).

export PATH=/bin HOME=/ TERM=linux

load() { # MODULE, after all that it needs
    while read -r name modules; do
        [ "$name" = "$1:" ] || continue
        for module in $modules; do
            [ -d "/sys/module/$module" ] || insmod "/modules/$module.ko"
        done
    done </modules.dep
}

# What to be ---------------------------------------------------------------------------------------

note() { # NIC KEY VALUE
    case " $nics " in *" $1 "*) ;; *) nics="$nics $1" ;; esac
    name=$(echo "$1" | tr . _)
    eval "${2}_$name=\$3"
}

noted() { # NIC KEY
    eval "echo \"\${${2}_$(echo "$1" | tr . _)}\""
}

read_arguments() {
    for word in $(cat /proc/cmdline); do
        value=${word#*=}
        nic=${word%%=*}
        nic=${nic#guest.}
        case "$word" in
        guest.hostname=*) hostname=$value ;;
        guest.eth*=dhcp) note "$nic" dhcp true ;;
        guest.eth*=*)
            note "$nic" address "${value%,*}"
            [ "$value" = "${value%,*}" ] || note "$nic" gateway "${value#*,}"
            ;;
        esac
    done
}

mount_seed() {
    for id in /sys/bus/virtio/devices/*/device; do
        [ "$(cat "$id")" = 0x0002 ] && load virtio_blk && break # a disk (virtio 1.1 §5)
    done
    device=$(findfs LABEL=CIDATA 2>/dev/null) || device=$(findfs LABEL=cidata 2>/dev/null) || return 1
    for module in vfat nls_cp437 nls_ascii; do
        load $module
    done
    mount -t vfat -o ro "$device" /seed 2>/dev/null && return
    load isofs
    mount -t iso9660 -o ro "$device" /seed
}

read_seed() {
    name=$(sed -n 's/^local-hostname: *//p' /seed/meta-data | tr -d "\"'\r")
    hostname=${name:-$hostname}
    [ -f /seed/network-config ] && read_network
}

read_network() { # block and flow style alike: words are keys, which end in a colon, or values
    nics=
    for word in $(sed 's/#.*//' /seed/network-config | tr "{}[],\"'\r" '        '); do
        case "$word" in
        match:) matching=true ;;
        version: | ethernets: | macaddress: | set-name: | mtu: | dhcp4: | dhcp6: | addresses: | gateway4: | routes: | to: | \
            via: | nameservers: | search: | optional: | renderer:) key=$word ;;
        *:) nic=${word%:} key='' matching='' ;;
        -) ;;
        *)
            case "$key$word" in
            macaddress:*)
                if [ "$matching" ]; then
                    nic=$(grep -lix "$word" /sys/class/net/*/address | cut -d / -f 5)
                else
                    note "$nic" mac "$word"
                fi
                matching=
                ;;
            dhcp4:true | dhcp4:yes | dhcp4:on) note "$nic" dhcp true ;;
            addresses:*.*/*) note "$nic" address "$(noted "$nic" address) $word" ;;
            gateway4:*.* | via:*.*) note "$nic" gateway "$word" ;;
            mtu:*) note "$nic" mtu "$word" ;;
            esac
            ;;
        esac
    done
}

# Being it -----------------------------------------------------------------------------------------

bring_up() { # NIC
    case "$1" in
    *.*)
        load 8021q
        ip link add link "${1%.*}" name "$1" type vlan id "${1##*.}"
        ;;
    esac
    value=$(noted "$1" mac)
    [ -z "$value" ] || ip link set "$1" address "$value"
    value=$(noted "$1" mtu)
    [ -z "$value" ] || ip link set "$1" mtu "$value"
    ip link set "$1" up
    for value in $(noted "$1" address); do
        ip addr add "$value" dev "$1" && echo "address $1 $value"
    done
    value=$(noted "$1" gateway)
    [ -z "$value" ] || ip route add default via "$value" dev "$1" metric "10${1#eth}"
    [ -z "$(noted "$1" dhcp)" ] ||
        udhcpc -f -i "$1" -s /dhcp.sh -x "hostname:$hostname" -t 60 -T 1 -A 5 >/dev/null 2>&1 &
}

answer() { # commands, on the second serial line
    while read -r mark id text; do
        [ "$mark" = '?' ] || continue
        echo "$text" | base64 -d >/run/command
        sh /run/command </dev/null >/run/output 2>&1
        echo "= $id $? $(base64 -w 0 /run/output)"
    done
}

power_button() {
    load button
    load evdev
    acpid -f -l /dev/null -p /run/acpid.pid >/dev/null 2>&1
}

mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
load virtio_pci
load virtio_net
hostname=guest nics=
read_arguments
mount_seed && read_seed
hostname "$hostname"
# One address is one NIC's: asked for by ARP on another one, it is not there.
echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore
echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce
ip link set lo up
if [ -z "$nics" ]; then
    for nic in /sys/class/net/eth*; do
        note "${nic##*/}" dhcp true
    done
fi
for nic in $nics; do
    bring_up "$nic"
done
[ "$(head -c 2 /seed/user-data 2>/dev/null)" = '#!' ] && cp /seed/user-data /run && chmod +x /run/user-data && /run/user-data
stty -F /dev/ttyS1 raw -echo 2>/dev/null && while :; do answer </dev/ttyS1 >/dev/ttyS1; done &
read -r uptime _ </proc/uptime
echo "ready $hostname after $uptime s"
power_button &
export PS1="$hostname# "
while :; do
    setsid cttyhack sh
done
