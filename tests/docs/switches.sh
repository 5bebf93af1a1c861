# A place of its own, with a network that is not there yet; and a switch of which is known what it runs.
mkdir -p /run/switches
cd /run/switches
cat >vlan300.yaml <<'EOF'
apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata: {name: vlan300, namespace: default}
spec:
  config: '{"cniVersion":"0.3.1","name":"vlan300","type":"bridge","bridge":"oob-br","promiscMode":true,"vlan":300,"ipam":{}}'
EOF
cat >"$WINDROW_ROOT/etc/windrow/cabling.yaml" <<'EOF'
switches:
- name: sw-oob
  system: eos
  ports: {p1: node-0/eth2, p2: node-0/eth3, p3: node-1/eth2, p4: node-1/eth3}
EOF
windrow agent --check 5m >/dev/null 2>&1 &
for _ in $(seq 60); do windrow status 2>/dev/null | grep -q "^the agent runs" && break; sleep 0.5; done
