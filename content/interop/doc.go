// Package interop holds content against an unmodified kubo, which the tests build from the module beside them (kubo/go.mod):
// same roots, and blocks both ways. It has tests only.
package interop
