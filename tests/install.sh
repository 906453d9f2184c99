# Sourced by the scripts that may have to install what a fresh machine lacks. Needs `set -euo pipefail` in its caller.

# install_command COMMAND PACKAGE...: installs Debian packages when the command is not on the path.
install_command() {
    local command=$1
    shift
    command -v "$command" >/dev/null && return
    local as_root=()
    if [[ $(id -u) != 0 ]]; then
        as_root=(sudo -n)
    fi
    if ! command -v apt-get >/dev/null || { ((${#as_root[@]})) && ! sudo -n true 2>/dev/null; }; then
        echo "$0: '$command' is missing; install it (Debian: $*) and run this again" >&2
        return 1
    fi
    echo "$0: installing $* for '$command'" >&2
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}
