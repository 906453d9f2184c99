// Command etcd is etcd's own server. Its module says `replace`, so that `go install` refuses it; as a dependency it builds.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
