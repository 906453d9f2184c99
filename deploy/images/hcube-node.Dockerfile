# A peer. Its data goes to a volume mounted at HCUBE_DATA_DIR; nothing else is written.
FROM scratch
COPY hcube-node /hcube-node
USER 65532:65532
ENTRYPOINT ["/hcube-node"]
