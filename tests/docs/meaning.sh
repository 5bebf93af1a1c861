# A machine and an address in the network, and a manifest that changes the mode of its bonds.
mkdir -p /run/meaning
cd /run/meaning
cat >used.yaml <<'END'
apiVersion: network.harvesterhci.io/v1beta1
kind: HostNetworkConfig
metadata: {name: storage}
spec:
  clusterNetwork: oob
  vlanID: 300
  mode: static
  ips: {node-0: 10.30.0.10/24, node-1: 10.30.0.11/24}
---
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: web, namespace: default}
spec:
  runStrategy: Manual
  template:
    spec:
      networks: [{name: net1, multus: {networkName: oob-vlan100}}]
      domain: {devices: {interfaces: [{name: net1, bridge: {}}]}}
END
windrow apply -f used.yaml >/dev/null
windrow vm attach web --output qemu >/dev/null 2>&1
cat >oob.yaml <<'END'
apiVersion: network.harvesterhci.io/v1beta1
kind: VlanConfig
metadata: {name: oob-all}
spec:
  clusterNetwork: oob
  uplink: {nics: [eth2, eth3], bondOptions: {mode: balance-xor}}
END
