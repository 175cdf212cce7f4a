# Regenerates api/ from proto/. Included by the Makefile; runs by itself with `make -f proto/proto.mk proto`.
#
# The compiler and the plugins are pinned in tools/go.mod; imported schemas come from the module cache at the versions of
# go.mod. Nothing else is fetched.

TOOLS_BIN ?= $(CURDIR)/build/tools

.PHONY: proto
proto:
	go mod download github.com/cosmos/cosmos-sdk github.com/cosmos/cosmos-proto github.com/cosmos/gogoproto github.com/grpc-ecosystem/grpc-gateway
	cd tools && GOBIN=$(TOOLS_BIN) go install ./protogen github.com/cosmos/gogoproto/protoc-gen-gocosmos github.com/grpc-ecosystem/grpc-gateway/protoc-gen-grpc-gateway
	$(TOOLS_BIN)/protogen \
		-plugin '$(TOOLS_BIN)/protoc-gen-gocosmos=plugins=grpc,Mgoogle/protobuf/any.proto=github.com/cosmos/gogoproto/types/any' \
		-plugin '$(TOOLS_BIN)/protoc-gen-grpc-gateway=logtostderr=true,allow_colon_final_segments=true'
