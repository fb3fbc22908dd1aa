# Everything a person or CI runs. `make` alone lists it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# What the tests need besides crates is fetched once and kept here.
OUT := $(abspath target)
CLIENTS := shard/tests/gateway/clients
# Arguments for `make demo` and the load tests, for instance `make demo ARGS="--upstream localhost:9092"`.
ARGS ?=
# For `make crash`: kills of a gateway under load, and simulated losses of power.
KILLS ?= 200
SEEDS ?= 20000
# For `make fuzz`: one of the targets in shard/fuzz/fuzz_targets, and for how long.
TARGET ?= decode
SECONDS ?= 60

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## Show Tidegate at work, without Kafka or Java; Ctrl-C ends it
	@deploy/install-dependencies build
	cargo run --package tidegate -- demo $(ARGS)

.PHONY: build
build: ## Build the release binary, target/release/tidegate
	@deploy/install-dependencies build
	cargo build --release --package tidegate

.PHONY: test
test: deps lint deny ## Everything that CI checks, on a real Kafka with stock clients
	cargo test --workspace --quiet

.PHONY: accuracy
accuracy: ## Precision and recall of the scanner, class by class; fails under the floors
	cargo test --package tidegate-policy --features corpus --test accuracy -- --nocapture

.PHONY: loadtest-build
loadtest-build:
	@deploy/install-dependencies build
	cargo build --release --package tidegate --package tidegate-loadtest

.PHONY: loadtest-compare
loadtest-compare: loadtest-build ## The gateway beside relays and other proxies under the same load; ARGS go to it
	TIDEGATE_OUT=$(OUT) loadtest/others/compare $(ARGS)

.PHONY: loadtest-sweep
loadtest-sweep: loadtest-build ## How many shards to run on this machine, and why
	$(OUT)/release/tidegate-loadtest sweep $(ARGS)

.PHONY: loadtest-connections
loadtest-connections: loadtest-build ## Memory of 10,000 idle TLS connections, CPU of new sessions
	$(OUT)/release/tidegate-loadtest connections $(ARGS)

.PHONY: loadtest-soak
loadtest-soak: loadtest-build ## An hour with reloads, restarts and churn; fails on leaks (ARGS="--for 8h")
	$(OUT)/release/tidegate-loadtest soak $(ARGS)

.PHONY: loadtest-revocation
loadtest-revocation: loadtest-build ## How fast a withdrawn grant bites on 1,000 busy connections
	$(OUT)/release/tidegate-loadtest revocation $(ARGS)

.PHONY: loadtest-report
loadtest-report: ## One page of all results in target/loadtest
	$(OUT)/release/tidegate-loadtest report \
		$$(ls $(OUT)/loadtest/{comparison,sweep,connections,revocation,soak}.json 2>/dev/null) $(ARGS)

.PHONY: bench
bench: ## Each stage and its physical limit, then the whole pipeline; some minutes. ARGS="--bench scan" for one
	@deploy/install-dependencies build
	cargo bench --package tidegate-bench --benches $(ARGS)

.PHONY: crash
crash: deps ## Kill the gateway under load KILLS times (200), and lose power in SEEDS (20000) simulated histories
	TIDEGATE_POWER_LOSS_SEEDS=$(SEEDS) cargo test --package tidegate-audit --lib -- log::tests::faults
	TIDEGATE_CRASH_KILLS=$(KILLS) cargo test --package tidegate --test gateway -- crash:: --nocapture

.PHONY: bench-hyperscan
bench-hyperscan: ## The scanner beside Hyperscan or Vectorscan, where its library (libhyperscan-dev) is installed
	@echo '#include <hs/hs.h>' | $(CC) -E - >/dev/null 2>&1 || { \
		echo "hs/hs.h is missing: apt-get install libhyperscan-dev or libvectorscan-dev" >&2; exit 1; }
	mkdir -p $(OUT)/hyperscan
	$(CC) -O2 -Wall -Wextra -o $(OUT)/hyperscan/compare bench/hyperscan/compare.c -lhs
	for content in clean full; do \
		cargo run --quiet --package tidegate-bench --example records -- $$content $(OUT)/hyperscan/$$content && \
		echo "$$content records of 1 KB:" && \
		$(OUT)/hyperscan/compare bench/hyperscan/patterns.txt $(OUT)/hyperscan/$$content; \
	done
	cargo bench --package tidegate-bench --bench scan -- scan-1k

.PHONY: lint
lint: ## Formatting and lints; warnings are errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings

.PHONY: deny
deny: $(OUT)/tools/bin/cargo-deny ## Licences, bans and sources of all crates
	$< --all-features check licenses bans sources

.PHONY: fuzz
fuzz: $(OUT)/tools/bin/cargo-fuzz ## Fuzz one TARGET for some SECONDS, with nightly Rust
	cd shard && PATH="$(OUT)/tools/bin:$$PATH" cargo +nightly fuzz run --sanitizer none \
		--target-dir $(OUT)/fuzz $(TARGET) -- \
		-max_total_time=$(SECONDS) -max_len=8192 -timeout=10 -rss_limit_mb=1024

$(OUT)/tools/bin/cargo-fuzz:
	@echo "building cargo-fuzz into $(OUT)/tools, once"
	cargo install --locked --quiet --root $(OUT)/tools cargo-fuzz

$(OUT)/tools/bin/cargo-deny:
	@echo "building cargo-deny into $(OUT)/tools, once; this takes some minutes"
	cargo install --locked --quiet --root $(OUT)/tools cargo-deny

.PHONY: deps
deps: system kafka python node ## Fetch what the tests need, once, into target/

.PHONY: system
system:
	@deploy/install-dependencies test

.PHONY: kafka
kafka: $(OUT)/kafka/.fetched
$(OUT)/kafka/.fetched: $(CLIENTS)/pom.xml | system
	@echo "fetching Apache Kafka into $(@D)"
	rm -rf $(@D)
	mvn --quiet --batch-mode --file $< dependency:copy-dependencies \
		-DoutputDirectory=$(@D) -DincludeScope=runtime
	touch $@

.PHONY: python
python: $(OUT)/venv/.fetched
$(OUT)/venv/.fetched: $(CLIENTS)/requirements.txt | system
	@echo "fetching confluent-kafka, signxml and duckdb into $(@D)"
	python3 -m venv --clear $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

.PHONY: node
node: $(OUT)/node/.fetched
$(OUT)/node/.fetched: $(CLIENTS)/package.json | system
	@echo "fetching kafkajs and playwright-core into $(@D)"
	rm -rf $(@D)
	mkdir -p $(@D)
	cp $< $(@D)/package.json
	npm install --prefix $(@D) --no-package-lock --no-audit --no-fund --loglevel error
	touch $@

.PHONY: clean
clean: ## Remove everything that was built or fetched
	rm -rf $(OUT)
