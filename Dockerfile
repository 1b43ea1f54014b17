# Two stages: the toolchain builds one static binary, the image holds nothing else.
#   docker build --build-arg VERSION="$(git describe --tags --always)" -t culvert .
#   docker run -p 1935:1935 -p 80:80 -p 443:443 -v "$PWD/culvert.yaml:/etc/culvert/culvert.yaml:ro" culvert
FROM golang:1.26-bookworm AS build
ARG VERSION=unknown
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN make build VERSION="$VERSION"
# What the image cannot make for itself without a shell: the folder of the internal certificate authority.
RUN mkdir -p /state

FROM scratch
COPY --from=build /src/bin/culvert /culvert
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build --chown=65532:65532 /state /state
ENV CULVERT_TLS_STORAGE=/state
USER 65532:65532
# RTMP; RTMPT and pages; RTMPS, RTMPTS and pages. The admin listener stays inside.
EXPOSE 1935 80 443
VOLUME /state
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/culvert", "healthcheck"]
ENTRYPOINT ["/culvert"]
CMD ["serve"]
