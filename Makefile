.PHONY: help dev test lint soak shake bench fuzz docs pictures clean

help:  ## this list
	@sed -n 's/^\([a-z]*\): .*## /  make \1	/p' Makefile

dev:  ## a whole system on this machine, its own Redis included; flags: make dev ARGS="--for 30s"
	@tools/bootstrap dev
	@cargo build --bins
	@cargo run --quiet --bin trunkline -- dev $(ARGS)

test:  ## lint, then every test, against real programs
	@tools/bootstrap test
	@$(MAKE) --no-print-directory lint
	cargo test

lint:  ## formatting, clippy, documentation, with and without the features; a warning is an error
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo clippy --no-default-features --all-targets -- -D warnings
	cargo clippy --no-default-features --features tls --lib -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --no-default-features
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

soak: SEED ?=
soak: MINUTES ?= 30
soak: PROFILE ?= release
soak:  ## faults drawn from a seed, on a fleet under load: make soak SEED=1 MINUTES=30 PROFILE=release
	@tools/bootstrap test
	LAB_SEED=$(SEED) LAB_MINUTES=$(MINUTES) cargo test --profile $(PROFILE) --test lab long -- --ignored --nocapture

shake: TEST ?= jobs
shake: ROUNDS ?= 5
shake:  ## one test binary while its processes stand still now and then: make shake TEST=jobs ROUNDS=5
	@tools/bootstrap test
	@tools/shake $(TEST) $(ROUNDS)

bench:  ## measure
	cargo bench

fuzz: MINUTES ?= 10
fuzz:  ## feed every parser strange bytes, each for MINUTES=10; what breaks one stays in fuzz/artifacts
	@tools/bootstrap fuzz
	@tools/fuzz run $(MINUTES)

docs:  ## write the files that are rendered from the code
	TRUNKLINE_WRITE=1 cargo test

pictures:  ## the dashboards as PNG in target/pictures, from a fleet that lives four minutes; needs Node 20
	@tools/bootstrap test
	@cargo build --bins
	cd tools/pictures && npm ci --no-audit --no-fund && node pictures.mjs

clean:  ## remove everything that was built or fetched
	cargo clean
	rm -rf .tools fuzz/target
