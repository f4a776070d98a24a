#!/bin/sh
# Generates the Go types. Needs Debian's protobuf-compiler.
set -eu
root=$(cd ../.. && pwd)
bin=$(mktemp -d)
trap 'rm -rf "$bin"' EXIT
GOBIN=$bin go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
GOBIN=$bin go install github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto@v0.6.0
PATH=$bin:$PATH protoc -I "$root/cot/takpb" \
	--go_out="$root" --go_opt=module=takd \
	--go-vtproto_out="$root" --go-vtproto_opt=module=takd,features=marshal+unmarshal+unmarshal_unsafe+size+equal \
	takproto.proto
