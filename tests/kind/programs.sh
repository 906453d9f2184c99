# Sourced by up: the programs that it calls and those that a node is made of, built from Go modules into $bin.
# Needs common.sh.

readonly kubernetes=v1.34.4 # of programs/kube/go.mod; the newest that also runs on hosts with cgroups of version 1
readonly kind=v0.33.0
readonly containerd=v1.7.35 # of programs/containerd/go.mod
readonly coredns=v1.14.7
readonly local_path_provisioner=v0.0.30
readonly helm3=v3.22.0
readonly helm4=v4.3.1

# keep KEY NAME COMMAND...: has the command make $bin/NAME, unless it did so before with the same key.
keep() {
    local key=$1 name=$2
    shift 2
    if [[ ! -x $bin/$name || "$(cat "$bin/.$name" 2>/dev/null)" != "$key" ]]; then
        command -v go >/dev/null || die "Go is missing (1.21 or newer; it fetches what it needs)"
        say "building $name"
        # What lies in the modules' folders belongs to no workspace and goes into no version stamp.
        CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false' GOWORK=off "$@"
        printf '%s\n' "$key" >"$bin/.$name"
    fi
}

# go_install NAME PACKAGE VERSION: a command of a module that can be installed as it is.
go_install() {
    keep "$3" "$1" go_install_as "$1" "$2@$3"
}

go_install_as() {
    local folder=$bin/.new
    GOBIN=$folder go install -ldflags '-s -w' "$2"
    mv "$folder"/* "$bin/$1"
}

# go_build NAME MODULE ARGUMENT...: a command of the module in programs/MODULE, or of one that it depends on.
go_build() {
    go -C "$here/programs/$2" build -o "$bin/$1" "${@:3}"
}

# What `up` itself calls; kubectl comes with the node image.
install_tools() {
    go_install kind sigs.k8s.io/kind $kind
    go_install helm helm.sh/helm/v3/cmd/helm $helm3
    go_install helm4 helm.sh/helm/v4/cmd/helm $helm4
}

# What the node image is made of.
build_programs() {
    local package command stamp=''
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        stamp+=" -X $package.gitVersion=$kubernetes -X $package.gitMajor=1 -X $package.gitMinor=34 -X $package.gitTreeState=clean"
    done
    keep "$(content_of programs/kube)" kube go_build kube kube -ldflags "-s -w$stamp"
    keep "$(content_of programs/etcd)" etcd go_build etcd etcd -ldflags '-s -w'
    for command in containerd containerd-shim-runc-v2 ctr; do
        keep "$(content_of programs/containerd)" "$command" go_build "$command" containerd \
            -tags 'no_btrfs no_aufs no_zfs no_devmapper' \
            -ldflags "-s -w -X github.com/containerd/containerd/version.Version=$containerd" \
            "github.com/containerd/containerd/cmd/$command"
    done
    go_install coredns github.com/coredns/coredns $coredns
    go_install local-path-provisioner github.com/rancher/local-path-provisioner $local_path_provisioner
}
