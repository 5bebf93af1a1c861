// agnhost, the program in the pods of Kubernetes' end-to-end suite, with those of its commands that specs about networks
// and pods start; each is Kubernetes' own package.
//
// The others bring along a client of the API, gRPC and a DNS server, for which a process touches five times as much memory
// until its first line. A policy spec starts this program 250 times, and in User-Mode Linux that was most of its time.
package main

import (
	"os"

	"github.com/spf13/cobra"

	"k8s.io/kubernetes/test/images/agnhost/connect"
	"k8s.io/kubernetes/test/images/agnhost/entrypoint-tester"
	"k8s.io/kubernetes/test/images/agnhost/liveness"
	"k8s.io/kubernetes/test/images/agnhost/netexec"
	"k8s.io/kubernetes/test/images/agnhost/pause"
	"k8s.io/kubernetes/test/images/agnhost/porter"
	servehostname "k8s.io/kubernetes/test/images/agnhost/serve-hostname"
	testwebserver "k8s.io/kubernetes/test/images/agnhost/test-webserver"
)

func main() {
	root := &cobra.Command{Use: "agnhost"}
	root.AddCommand(connect.CmdConnect, entrypoint.CmdEntrypointTester, liveness.CmdLiveness, netexec.CmdNetexec,
		pause.CmdPause, porter.CmdPorter, servehostname.CmdServeHostname, testwebserver.CmdTestWebserver)
	if root.Execute() != nil {
		os.Exit(1)
	}
}
