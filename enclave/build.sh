#!/bin/sh
# Builds cella-enclave from the tree that this script lies in. The result depends on the sources, the Go version and the C
# compiler alone: these, and the flags below, are the measurement recipe.
#
#   build.sh OUT      writes the program to OUT
#   build.sh recipe   prints the versions that the measurement depends on
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)

if [ "$1" = recipe ]; then
	(cd "$root" && go version)
	"${CC:-gcc}" --version | head -n 1
	ld --version | head -n 1
	ldd --version 2>/dev/null | head -n 1
	exit 0
fi

case $1 in
/*) out=$1 ;;
*) out=$PWD/$1 ;;
esac

# Nothing of the caller's settings for the compilers gets in.
unset GOFLAGS CGO_CPPFLAGS CGO_CXXFLAGS CGO_FFLAGS CGO_LDFLAGS GOEXPERIMENT GOAMD64 GOARM64 GOFIPS140 GODEBUG || true
cd "$root"
export GOENV=off GOWORK=off GOTOOLCHAIN=local CGO_ENABLED=1
CGO_CFLAGS="-O2 -ffile-prefix-map=$root=/cella -ffile-prefix-map=$(go env GOMODCACHE)=/mod -ffile-prefix-map=$(go env GOROOT)=/go -fno-record-gcc-switches"
export CGO_CFLAGS
exec go build -mod=readonly -trimpath -buildvcs=false -tags netgo,osusergo \
	-ldflags '-s -w -buildid= -linkmode external -extldflags "-static -Wl,--build-id=none"' \
	-o "$out" ./cmd/cella-enclave
