//go:build !cgo

package gometa

// The package calls the C library libgometa. Without cgo every other file of it is left out, and this one does not
// compile, so that the reason is the only error. Set CGO_ENABLED=1, with a C compiler and pkg-config in PATH and
// libgometa installed; cross-compiling needs a C compiler for the target as well (CC).
var _ = gometa_needs_cgo_set_CGO_ENABLED_to_1_and_install_libgometa
