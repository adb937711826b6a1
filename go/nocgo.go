//go:build !cgo

package gometa

// The package needs cgo and libgometa. Without cgo this is its only file, and its only error says so. Set CGO_ENABLED=1,
// with a C compiler and pkg-config in PATH and libgometa installed; cross-compiling needs a C compiler for the target (CC).
var _ = gometa_needs_cgo_set_CGO_ENABLED_to_1_and_install_libgometa
