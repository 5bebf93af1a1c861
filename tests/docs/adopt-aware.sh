# The same host, with a bridge that filters VLANs already (`bridge-vlan-aware yes` of ifupdown): adopting it costs nothing.
source tests/docs/adopt.sh
ip link set br0 type bridge vlan_filtering 1
