// flannel's own packages as a program: its back ends VXLAN and WireGuard, fed by the Nodes of an API server.
//
// It stands in for flanneld where a test or a lab needs a real one: flanneld's own main package has every back end, and
// what one of them depends on is not to be had everywhere. What is missing here is its rules of the packet filter.
//
// The environment variable NODE_NAME says whose Node is this one's.
package main

import (
	"context"
	"flag"
	"os/signal"
	"sync"
	"syscall"

	"github.com/flannel-io/flannel/pkg/backend"
	_ "github.com/flannel-io/flannel/pkg/backend/vxlan"
	_ "github.com/flannel-io/flannel/pkg/backend/wireguard"
	"github.com/flannel-io/flannel/pkg/ipmatch"
	"github.com/flannel-io/flannel/pkg/subnet"
	"github.com/flannel-io/flannel/pkg/subnet/kube"
	"k8s.io/klog/v2"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "by which the API server is reached")
	netConf := flag.String("net-conf", "", "the file net-conf.json")
	iface := flag.String("iface", "", "the link whose address the tunnels begin at")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	var working sync.WaitGroup
	network, err := registered(ctx, &working, *kubeconfig, *netConf, *iface)
	if err != nil {
		klog.Exit(err)
	}
	network.Run(ctx)
	working.Wait()
}

func registered(ctx context.Context, working *sync.WaitGroup, kubeconfig, netConf, iface string) (backend.Network, error) {
	nodes, err := kube.NewSubnetManager(ctx, "", kubeconfig, "flannel.alpha.coreos.com", netConf, false)
	if err != nil {
		return nil, err
	}
	config, err := nodes.GetNetworkConfig(ctx)
	if err != nil {
		return nil, err
	}
	external, err := lookedUp(config, iface)
	if err != nil {
		return nil, err
	}
	made, err := backend.NewManager(ctx, nodes, external).GetBackend(config.BackendType)
	if err != nil {
		return nil, err
	}
	return made.RegisterNetwork(ctx, working, config)
}

func lookedUp(config *subnet.Config, iface string) (*backend.ExternalInterface, error) {
	families, err := ipmatch.GetIPFamily(config.EnableIPv4, config.EnableIPv6)
	if err != nil {
		return nil, err
	}
	return ipmatch.LookupExtIface(iface, "", "", families, ipmatch.PublicIPOpts{})
}
