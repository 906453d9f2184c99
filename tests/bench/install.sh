# Sourced by run: the systems that hcube is compared with, kept below $home. Each install_* ends with a code that says
# whether its system is there; what went wrong has been said then.

source "$(dirname "${BASH_SOURCE[0]}")/../install.sh"

readonly nats_version=v2.15.2

say() { echo "tests/bench: $*" >&2; }

# installed KEY NAME: whether $home/NAME was installed with this key.
installed() {
    [[ -e $home/$2 && "$(cat "$home/.$2" 2>/dev/null)" == "$1" ]]
}

install_nats() {
    installed "$nats_version" nats-server && return
    install_command go golang-go || return
    say "building nats-server $nats_version"
    local folder=$home/.new-nats
    rm -rf "$folder"
    # What lies in the module's folder belongs to no workspace and goes into no version stamp.
    GOBIN=$folder CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false' GOWORK=off \
        go install -ldflags '-s -w' "github.com/nats-io/nats-server/v2@$nats_version" || return
    mv -f "$folder/nats-server" "$home/nats-server" || return
    rm -rf "$folder"
    printf '%s\n' "$nats_version" >"$home/.nats-server"
}

install_kafka() {
    local key folder=$home/.new-kafka
    install_command java default-jre-headless || return
    key=$(sha256sum <tests/bench/kafka/pom.xml)
    installed "$key" kafka && return
    install_command mvn maven || return
    say "fetching the jars of Kafka"
    rm -rf "$folder" "$home/kafka"
    mvn -q -B -f tests/bench/kafka/pom.xml dependency:copy-dependencies "-DoutputDirectory=$folder" >&2 || return
    mv "$folder" "$home/kafka" || return
    printf '%s\n' "$key" >"$home/.kafka"
}
