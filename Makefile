# Cella. `make help` lists the targets.
BIN      := build
LIGHT    := ./protocol/... ./enclave/... ./worker/... ./content ./content/coding ./content/denylist ./client ./bench/... ./chain/... ./cmd/... .
NETWORK  := ./devnet/... ./e2e/... ./content/interop/...
FUZZTIME ?= 1h
FILE     ?=
export GOFLAGS := -buildvcs=false

.PHONY: help build check test mutants soak bench durability economy demo enclave proto lint fuzz vet clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## build    both programs, into build/
build: enclave $(BIN)/cella

.PHONY: $(BIN)/cella
$(BIN)/cella:
	go build -ldflags '-s -w' -o $@ ./cmd/cella

## enclave  the trusted program, static and reproducible; prints its measurement
include enclave/enclave.mk

## proto    generated Go of the chain's wire schemas
include proto/proto.mk

## lint     golangci-lint with the import rules
lint: $(BIN)/bin/golangci-lint
	$(BIN)/bin/golangci-lint run ./...

$(BIN)/bin/golangci-lint: tools/go.mod
	cd tools && go build -o ../$@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

vet:
	@test -z "$$(gofmt -l $$(git ls-files '*.go' | grep -v '^api/'))" || { echo 'not gofmt-ed:'; gofmt -l $$(git ls-files '*.go' | grep -v '^api/'); exit 1; }
	go vet ./...

## check    what to run before each commit: under 3 minutes warm
check: build vet
	go test $(LIGHT)

## test     what CI runs: check, then networks of real processes, interoperation and regeneration
test: check lint
	go test -count=1 -timeout 30m -p 1 $(NETWORK)
	$(MAKE) proto && git diff --exit-code -- api
	$(MAKE) enclave-repro
	$(MAKE) demo

## fuzz     every fuzz target for FUZZTIME (an hour each unless told), its corpus kept
fuzz:
	.ci/fuzz $(FUZZTIME)

## mutants  remove each guard of docs/attacks.md in turn and see its test fail
mutants:
	go test -count=1 -timeout 3h -run TestMutants . -args -mutants

## soak     the long counts: SOAK_ROUNDS blows over SOAK_HOURS hours of a chain, mutants, large demos, fuzzing
soak: build
	.ci/soak
	$(MAKE) mutants fuzz

## bench    our speed beside peers and limits, in one run with one table: some fifteen minutes
bench: build
	go run ./bench

## durability  compute and simulate the tables of docs/durability.md
durability:
	go run ./bench/durability -write docs/durability.md

## economy  simulate the tables of docs/economy.md
economy:
	go run ./bench/economy -write docs/economy.md

## demo     five nodes store FILE (a file or folder; the files of this repository unless told), prove it, lose two holders, are whole again, give it back
demo: build
	go run ./devnet/demo -file '$(FILE)'

clean:
	rm -rf $(BIN)
