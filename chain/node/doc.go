// Package node runs one node of the chain inside the calling process: CometBFT, the application, and the servers that
// answer over RPC, gRPC and REST.
//
//	Load settings -> New (open databases, replay) -> Start -> Wait or Stop
//
// It reads config/config.toml and config/app.toml of a home, the files that the stock commands write and read, so that
// `cella chain` and this package always speak of the same node.
package node
