package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// The runtime makes the pods' interfaces by this file; %s is the node's range of pod addresses.
const (
	networkFile = "/etc/cni/net.d/10-kindnet.conflist"
	network     = `{"cniVersion": "0.3.1", "name": "kindnet", "plugins": [
  {"type": "ptp", "ipMasq": true, "mtu": 1500, "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam-state",
    "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": "%s"}]]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}
]}
`
)

// podNetwork does what kind's own kindnetd does, less network policies: it gives this node's pods addresses and keeps a
// route to the pods of every other node, for as long as it runs.
func podNetwork(ctx context.Context) error {
	// Services work only once kube-proxy runs, so the API server is called by the address that kind hands over.
	if endpoint := os.Getenv("CONTROL_PLANE_ENDPOINT"); endpoint != "" {
		host, port, err := net.SplitHostPort(endpoint)
		if err != nil {
			return err
		}
		os.Setenv("KUBERNETES_SERVICE_HOST", host)
		os.Setenv("KUBERNETES_SERVICE_PORT", port)
	}
	config, err := rest.InClusterConfig()
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	here := os.Getenv("HOST_IP")
	for ; ; time.Sleep(2 * time.Second) {
		nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err != nil {
			fmt.Fprintln(os.Stderr, "list nodes:", err)
			continue
		}
		for _, node := range nodes.Items {
			address := internalAddress(node)
			switch {
			case node.Spec.PodCIDR == "" || address == nil:
			case address.String() == here:
				err = writeNetwork(node.Spec.PodCIDR)
			default:
				err = routeTo(node.Spec.PodCIDR, address)
			}
			if err != nil {
				fmt.Fprintln(os.Stderr, node.Name+":", err)
			}
		}
	}
}

// internalAddress is the node's IPv4 address in the cluster, or nil.
func internalAddress(node corev1.Node) net.IP {
	for _, one := range node.Status.Addresses {
		if one.Type == corev1.NodeInternalIP {
			if address := net.ParseIP(one.Address).To4(); address != nil {
				return address
			}
		}
	}
	return nil
}

// writeNetwork puts the file in place whole: the runtime watches the folder.
func writeNetwork(pods string) error {
	wanted := fmt.Sprintf(network, pods)
	if present, err := os.ReadFile(networkFile); err == nil && string(present) == wanted {
		return nil
	}
	if err := os.WriteFile(networkFile+".tmp", []byte(wanted), 0o644); err != nil {
		return err
	}
	return os.Rename(networkFile+".tmp", networkFile)
}

func routeTo(pods string, node net.IP) error {
	_, destination, err := net.ParseCIDR(pods)
	if err != nil {
		return err
	}
	return netlink.RouteReplace(&netlink.Route{Dst: destination, Gw: node})
}
