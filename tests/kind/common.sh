# Sourced by the scripts in this folder: names, places, and what they all do. Needs `set -euo pipefail` in its caller.
#
# Everything is kept below $home; only what dies with the machine's processes (sockets, process ids) is below $run.

source "$(dirname "${BASH_SOURCE[0]}")/../install.sh"

here=$(realpath "$(dirname "${BASH_SOURCE[0]}")")
readonly here
readonly root=${here%/tests/kind}
home=$(realpath -m "${HCUBE_CACHE:-$HOME/.cache/hcube}/kind")
readonly home
readonly bin=$home/bin
readonly run=/run/hcube-kind
name=hcube # of the cluster; --name says another

say() { echo "tests/kind: $*" >&2; }

die() {
    say "$*"
    exit 1
}

# parse_name ARGUMENT...: takes `--name NAME` out of the arguments; the others are left in `arguments`.
parse_name() {
    arguments=()
    while (($#)); do
        if [[ $1 == --name ]]; then
            [[ ${2:-} =~ ^[a-z0-9][a-z0-9-]{0,30}$ ]] || die "--name needs a name of small letters, digits and dashes"
            name=$2
            shift
        else
            arguments+=("$1")
        fi
        shift
    done
    kubeconfig=$home/$name.kubeconfig
}

# One at a time: `up` and `down` of two sessions would undo each other. The lock ends with the process.
lock() {
    mkdir -p "$bin"
    exec 9>"$home/lock"
    flock -n 9 || { say "waiting for another run"; flock 9; }
}

# content_of PATH...: one word that is another one when a file below the paths is.
content_of() {
    (cd "$here" && find "$@" -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
}

# The Docker engine. An engine that answers is used as it is, whoever started it. Only where none does, one of our own is
# started, apart from any other: its data below $home, its sockets and process id below $run.

readonly own_socket=$run/docker.sock

engine_answers() {
    command -v docker >/dev/null && timeout 20 docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}

# own_engine: the process id of the engine that was started here, if it runs.
own_engine() {
    local pid
    pid=$(cat "$run/pid" 2>/dev/null) && grep -qs "$run/" "/proc/$pid/cmdline" && echo "$pid"
}

# find_engine: sets DOCKER_HOST where it is our own; fails when no engine answers.
find_engine() {
    if [[ -z ${DOCKER_HOST:-} ]] && own_engine >/dev/null; then
        export DOCKER_HOST=unix://$own_socket
    fi
    engine_answers
}

start_engine() {
    [[ $(id -u) == 0 ]] || die "no Docker engine answers, and only root can start one"
    install_command dockerd docker.io
    install_command docker docker-cli
    install_command jq jq
    mkdir -p "$run" "$home/engine"
    # An engine that was killed left these, and believes in them although their processes are gone. It also left
    # containers, which the new one finds and ends.
    rm -f "$run/pid" "$own_socket" "$run/exec/containerd/containerd.pid"
    # Where this machine may not grant the capability SYS_RESOURCE (bit 24), privileged containers start only without it.
    local runtime=runc
    if ((((0x$(awk '/CapBnd/ { print $2 }' /proc/self/status) >> 24) & 1) == 0)); then
        runtime=lenient
    fi
    install -m 755 "$here/runc-lenient" "$run/runc-lenient"
    jq -n --arg home "$home" --arg run "$run" --arg runtime "$runtime" '{
        "data-root": ($home + "/engine"), "exec-root": ($run + "/exec"), "pidfile": ($run + "/pid"),
        "hosts": ["unix://" + $run + "/docker.sock"], "bridge": "none",
        "runtimes": {"lenient": {"path": ($run + "/runc-lenient")}}, "default-runtime": $runtime
    }' >"$run/daemon.json"
    setsid nohup dockerd --config-file "$run/daemon.json" --containerd-namespace hcube-kind \
        --containerd-plugins-namespace hcube-kind-plugins >"$home/engine.log" 2>&1 </dev/null 9>&- &
    local started=$! deadline=$((SECONDS + 120))
    export DOCKER_HOST=unix://$own_socket
    until engine_answers; do
        if ! kill -0 "$started" 2>/dev/null || ((SECONDS > deadline)); then
            die "the Docker engine did not start: $(tail -n 1 "$home/engine.log")"
        fi
        sleep 0.5
    done
}

# stop_engine: stops the engine that was started here, and no other.
stop_engine() {
    local pid
    pid=$(own_engine) || return 0
    kill "$pid"
    local deadline=$((SECONDS + 90))
    while own_engine >/dev/null; do
        ((SECONDS < deadline)) || die "the Docker engine (process $pid) does not end"
        sleep 0.5
    done
}

# Containers of the cluster in any state, half a cluster's too.
cluster_containers() {
    docker ps -aq --filter "label=io.x-k8s.kind.cluster=$name"
}

delete_cluster() {
    local containers
    containers=$(cluster_containers)
    if [[ -n $containers ]]; then
        xargs docker rm -f -v <<<"$containers" >/dev/null
    fi
    rm -f "$kubeconfig"
}
