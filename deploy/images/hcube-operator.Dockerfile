# The operator. It writes no file.
FROM scratch
COPY hcube-operator /hcube-operator
USER 65532:65532
ENTRYPOINT ["/hcube-operator"]
