//go:build tools

// Package tools names the commands of containerd that a node needs. Its module says `exclude`, so that
// `go install` refuses it by version; from a module that depends on it, the same commands build.
package tools

import (
	_ "github.com/containerd/containerd/cmd/containerd"
	_ "github.com/containerd/containerd/cmd/containerd-shim-runc-v2"
	_ "github.com/containerd/containerd/cmd/ctr"
)
