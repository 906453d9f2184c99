# The command `hcube`, to be run beside a hypercube: `kubectl run --image=hcube:dev ...`, and `helm test`. Its own
# settings are variables: HCUBE_ENDPOINT says where the peers are.
FROM scratch
COPY hcube /hcube
USER 65532:65532
ENTRYPOINT ["/hcube"]
