# A host that netplan has set up: a bond of two NICs, a bridge on it, and a VLAN of the bridge.
ip link set eth1 down
ip link set eth2 down
ip link set eth1 name ens1
ip link set eth2 name ens2
ip link add bond0 type bond mode active-backup miimon 100
ip link set ens1 master bond0
ip link set ens2 master bond0
ip link add br0 type bridge
ip link set bond0 master br0
ip link add br0.30 link br0 type vlan id 30
for link in ens1 ens2 bond0 br0 br0.30; do ip link set $link up; done
ip address add 10.0.0.5/24 dev br0
ip address add 10.30.0.5/24 dev br0.30
mkdir -p "$WINDROW_ROOT/etc/netplan"
cat >"$WINDROW_ROOT/etc/netplan/50-net.yaml" <<'EOF'
network:
  bonds:
    bond0: {interfaces: [ens1, ens2], parameters: {mode: active-backup, mii-monitor-interval: 100}}
  ethernets: {ens1: {}, ens2: {}}
  bridges:
    br0:
      interfaces: [bond0]
      addresses: [10.0.0.5/24]
      dhcp4: false
      nameservers:
        addresses: [10.0.0.53]
EOF
