# What a person types. Each target is one line of shell or one script of .ci, so that nothing here is needed to build or test.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME ?= 1m

.PHONY: run build test bench lint fuzz check clean

run: ## a gateway on unprivileged ports with a clip looping as live/demo
	go run ./cmd/culvert serve --demo

build: ## bin/culvert: static, stripped, version stamped
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/culvert ./cmd/culvert

test: ## all tests with the race detector; installs the clients they need
	sh .ci/test

bench: ## culvert, nginx-rtmp and the floors in turn: every goal with its figure; installs nginx
	sh .ci/bench

lint: ## golangci-lint, go vet for Linux, Windows and macOS, shellcheck
	sh .ci/lint

fuzz: ## every fuzz target for FUZZTIME each
	sh .ci/fuzz $(FUZZTIME)

check: ## the sample configurations load
	go run ./cmd/culvert check -c configs/culvert.yaml

clean:
	rm -rf bin
