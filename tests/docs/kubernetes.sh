# A node of a cluster, before Windrow's agent comes: with the kubeconfig that a node has, and that of whoever looks after
# the cluster; and directories of plugins that nobody else sees.
pkill -f "windrow agent" --nslist net --ns $$
mkdir -p "$WINDROW_ROOT/etc/windrow" "$WINDROW_ROOT/etc/cni/net.d" /run/reader/.kube
cp /run/windrow/kubernetes/agent-node-0.kubeconfig "$WINDROW_ROOT/etc/windrow/kubeconfig"
cp /run/windrow/kubernetes/admin.kubeconfig /run/reader/.kube/config
export HOME=/run/reader
unset KUBECONFIG WINDROW_KUBECONFIG
mount -t tmpfs plugins /opt
mkdir -p /opt/cni/bin
