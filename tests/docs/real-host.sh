# A host whose bond and bridge others have made, whose address is on eth0, and manifests for it in a directory.
ip link set eth1 down
ip link add bond0 type bond mode active-backup miimon 100
ip link set eth1 master bond0
ip link add br0 type bridge vlan_filtering 1
ip link set bond0 master br0
for link in eth1 bond0 br0; do ip link set $link up; done
mkdir -p /run/host/manifests
cd /run/host
cat >manifests/storage.yaml <<'EOF'
apiVersion: network.harvesterhci.io/v1beta1
kind: ClusterNetwork
metadata: {name: storage}
---
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: storage}
spec: {clusterNetwork: storage, uplink: {nics: [eth2]}}
EOF
