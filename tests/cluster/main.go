// One program that is every part of a Kubernetes control plane, and of a node.
//
// It picks its role from the name it is started under (`kube-apiserver`, `etcd`, `kubectl`, ...) or, started as
// `tk8s-cluster`, from its first argument. One multi-call binary links in one go, so a fresh machine builds the whole
// control plane in a few minutes, and the cache holds one file.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

var roles = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	"kubectl":                 func() *cobra.Command { return kubectl.NewDefaultKubectlCommand() },
}

func main() {
	role := filepath.Base(os.Args[0])
	if _, known := roles[role]; !known && role != "etcd" {
		if len(os.Args) < 2 {
			usage()
		}
		role = os.Args[1]
		os.Args = append([]string{role}, os.Args[2:]...)
	}
	if role == "etcd" {
		etcdmain.Main(os.Args)
		return
	}
	command, known := roles[role]
	if !known {
		usage()
	}
	os.Exit(cli.Run(command()))
}

func usage() {
	names := []string{"etcd"}
	for name := range roles {
		names = append(names, name)
	}
	sort.Strings(names)
	fmt.Fprintf(os.Stderr, "usage: tk8s-cluster ROLE [arguments]\nroles: %s\n", strings.Join(names, " "))
	os.Exit(2)
}
