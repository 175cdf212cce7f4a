#!/bin/sh
# Builds cella-enclave twice, from two copies of the tree in folders of different names, with a build cache each and a module cache
# each of another path, and compares byte by byte. Prints the SHA-256, which is the simulator's measurement.
set -eu
root=$(CDPATH= cd -- "$(dirname -- "$0")/.." && pwd)
modules=$(cd "$root" && go env GOMODCACHE)
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

for name in one another-folder-of-a-longer-name; do
	tree=$work/$name/src
	mkdir -p "$tree" "$work/$name/cache" "$work/$name/gopath"
	# What the program is made of, and no more.
	cp "$root/go.mod" "$root/go.sum" "$tree"
	(cd "$root" && GOFLAGS= go list -deps -f '{{if and .Module .Module.Main}}{{.Dir}}{{end}}' ./cmd/cella-enclave) | while read -r dir; do
		to=$tree/${dir#"$root"/}
		mkdir -p "$to"
		find "$dir" -maxdepth 1 -type f ! -name '*_test.go' -exec cp {} "$to" \;
	done
	cp "$root/enclave/build.sh" "$tree/enclave"
	# A module cache of its own path that reads from the shared one: no network.
	GOMODCACHE=$work/$name/gopath/mod GOCACHE=$work/$name/cache GOPROXY=file://$modules/cache/download GONOSUMDB=* GOFLAGS=-modcacherw \
		"$tree/enclave/build.sh" "$work/$name/cella-enclave" 2>"$work/$name/log" || { cat "$work/$name/log"; exit 1; }
done
cmp "$work/one/cella-enclave" "$work/another-folder-of-a-longer-name/cella-enclave"
sum=$(sha256sum "$work/one/cella-enclave" | cut -d' ' -f1)
[ "$("$work/one/cella-enclave" measure)" = "$sum" ]
echo "$sum  cella-enclave, byte-identical when built twice"
