# The commands of daily work. `make help` lists them; CONTRIBUTING.md describes them.
#
# There is one profile (--release), and always the features of the whole workspace, here as in every script: another
# profile or another choice of features compiles RocksDB again, which takes more than ten minutes on two cores.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:

# A variable with an empty value, on the command line or in the environment, counts as not set.
override PREFIX := $(or $(PREFIX),/usr/local)
override SEEDS := $(or $(SEEDS),10000)
override SECONDS := $(or $(SECONDS),60)
override HOURS := $(or $(HOURS),1)
comma := ,
counts := kill=300 power-cut=50 pause=100 partition=50 disk-full=20 failing-sync=20
override COUNTS := $(or $(COUNTS),$(subst $() ,$(comma),$(counts)))
override KILLS := $(or $(KILLS),200)
override INCREMENTS := $(or $(INCREMENTS),10000)
override CLIENTS := $(or $(CLIENTS),12000)
ARGS ?=
DESTDIR ?=
LIBDIR ?=
KEEP ?=
ifeq ($(CARGO_TARGET_DIR),)
unexport CARGO_TARGET_DIR
endif

# The flag that KEEP stands for.
keep = $(if $(filter-out 0 no false 1 yes true,$(KEEP)),$(error KEEP is "$(KEEP)": expected 1 or 0, as in KEEP=1),$(if $(filter 1 yes true,$(KEEP)),--keep))

# The directory in which rustup installs cargo may not be in the shell's PATH.
export PATH := $(PATH):$(if $(CARGO_HOME),$(CARGO_HOME),$(HOME)/.cargo)/bin
# Where the toolchain of rust-toolchain.toml is not installed, rustup's default one is used, and nothing is downloaded.
ifeq ($(RUSTUP_TOOLCHAIN),)
pinned := $(shell sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
default := $(shell PATH="$(PATH)"; command -v rustup >/dev/null && ! rustup toolchain list | grep -q '^$(pinned)-' && rustup default | cut -d ' ' -f 1)
ifneq ($(default),)
export RUSTUP_TOOLCHAIN := $(default)
endif
endif
# Only target/ is written in the tree, and not even that with CARGO_TARGET_DIR.
export PYTHONDONTWRITEBYTECODE := 1

.PHONY: help run test fix install prepare build check format lint doc repo unit sim exhaustive mutants e2e python go \
        conformance exactly-once short-lived bench-clients bench bench-check chaos campaign failover growth soak fuzz cargo-mutants \
        tools

help: ## Prints the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' Makefile

run: prepare ## Starts three nodes, writes, kills the leader, recovers; KEEP=1 leaves them running
	@python3 scripts/run.py $(keep)

test: ## Checks and tests everything (installs what is missing, on Debian)
	@sh scripts/prepare.sh checks
	@python3 scripts/suite.py --seeds "$(SEEDS)" --seconds "$(SECONDS)" all

fix: ## Formats, and applies clippy's fixes
	@sh scripts/prepare.sh checks
	cargo clippy --release --workspace --all-targets --fix --allow-dirty --allow-staged
	cargo fmt --all

install: build ## Installs the programs and libgometa below PREFIX (default /usr/local)
	@python3 scripts/install.py --destdir "$(DESTDIR)" --prefix "$(PREFIX)" $(if $(LIBDIR),--libdir "$(LIBDIR)")

prepare: ## Installs the missing tools for building
	@sh scripts/prepare.sh

# The tools of the tests: Go, Erlang, valgrind and so on.
tools:
	@sh scripts/prepare.sh checks

build: prepare ## Builds every program
	cargo build --locked --release --workspace

check: ## Format, lints, dependencies, documentation, the repository's own rules
	@sh scripts/prepare.sh checks
	@python3 scripts/suite.py check

format: ## Checks the format only
	@sh scripts/prepare.sh checks
	@python3 scripts/suite.py format

lint: ## Runs clippy only
	@sh scripts/prepare.sh checks
	@python3 scripts/suite.py lint

doc: prepare ## Builds the documentation; warnings fail it
	@python3 scripts/suite.py doc

repo: prepare ## Checks dependencies between crates and modules, lengths, manifests: the repository's own rules
	@python3 scripts/suite.py repo

unit: prepare ## Unit, golden and property tests
	@python3 scripts/suite.py unit

sim: prepare ## Simulates whole ensembles; SEEDS=10000 of them, which must hit every probe
	@python3 scripts/suite.py --seeds "$(SEEDS)" sim

exhaustive: prepare ## Searches every state of a small ensemble, for about ten minutes
	@python3 scripts/suite.py exhaustive

cargo-mutants: prepare ## Mutates zab/ and runs its tests (an hour or two; needs cargo-mutants)
	@mkdir -p target
	CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=false cargo mutants -p gometa-zab --output target

mutants: prepare ## Runs the simulator with each planted fault, which it must detect
	@python3 scripts/suite.py log-mutants mutants

e2e: prepare ## Tests real processes
	@python3 scripts/suite.py e2e

python: tools ## Builds and tests the Python package
	@python3 scripts/suite.py python

go: tools ## Tests the Go package
	@python3 scripts/suite.py go

conformance: tools ## Plays the same scenarios with every client, and prints the table
	@python3 scripts/suite.py conformance

exactly-once: tools ## Makes INCREMENTS=10000 in each language while leaders are killed, and checks the sums
	@python3 scripts/suite.py --increments "$(INCREMENTS)" exactly-once

short-lived: tools ## Opens CLIENTS=12000 short-lived clients of each language, which must leave no session
	@python3 scripts/suite.py --clients "$(CLIENTS)" short-lived

bench-clients: tools ## Compares the throughput of each language with the Rust client
	@python3 scripts/suite.py bench-clients

bench: ## Compares with etcd and ZooKeeper, which it builds or downloads; ARGS="--quick", ARGS=--help
	@python3 scripts/bench.py $(ARGS)

bench-check: ## Format, lints and tests of bench/, a workspace of its own
	@python3 scripts/bench.py --check

chaos: prepare ## Injects faults into real processes for SECONDS=60, and checks the histories
	@python3 scripts/suite.py --seconds "$(SECONDS)" chaos

campaign: prepare ## The same until there are enough valid faults of each kind: COUNTS=kill=300,pause=100
	@python3 scripts/suite.py --counts "$(COUNTS)" campaign

failover: prepare ## Kills the leader KILLS=200 times and measures the next write; draws docs/failover.svg
	@python3 scripts/suite.py --kills "$(KILLS)" failover

growth: prepare ## Ten million sets of ten thousand keys: directories, memory and latency; draws docs/growth.svg
	@python3 scripts/suite.py growth

soak: prepare ## The same for HOURS=1, with a line in docs/evidence.md
	@python3 scripts/suite.py --hours "$(HOURS)" soak

fuzz: prepare ## Fuzzes each parser of external input for SECONDS=60; KEEP=1 keeps new inputs
	@python3 scripts/fuzz.py --seconds "$(SECONDS)" $(keep)
