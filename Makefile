# Every target sets up what it needs first; see scripts/bootstrap. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast test-kernel test-kube test-cluster test-arm64 test-dhcp test-scale test-image image test-flannel test-conformance manual test-deb test-docs lint fmt bench pins manifests clean site deb release

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Debian packages, virtual environment, Python packages, windrow itself, a kernel for virtual machines
	@scripts/bootstrap

demo: ## two nodes, two switches and four virtual machines in a real kernel; then a switch that is broken, and found
	@scripts/bootstrap demo
	@.venv/bin/windrow lab doctor --first --kernel uml --kernel native
	@.venv/bin/windrow lab run seed --svg build/seed.svg
	@.venv/bin/windrow lab run broken-switch

test: setup ## everything: lint, tests, the tests in the lab kernel, and those on a real Kubernetes API server
	@.venv/bin/python scripts/check lint host kernel kube

test-fast: setup ## lint and the tests that need no lab kernel
	@.venv/bin/python scripts/check lint host

test-kernel: setup ## the tests in the lab kernel only
	@.venv/bin/python scripts/check kernel

test-kube: setup ## the tests on a real API server only; the first time it is built, which takes minutes
	@.venv/bin/python scripts/check kube

test-cluster: setup ## labs with a whole Kubernetes: API server, kubelets, pods with NICs in VLANs; `test` has the part without pods
	@.venv/bin/python scripts/check cluster

test-flannel: setup ## a lab with nodes of real flannel in one overlay with Windrow's; the first time flannel is built, too
	@.venv/bin/python scripts/check flannel

test-conformance: setup ## Kubernetes' own end-to-end suite against the lab's Kubernetes; the first time it is built, which takes minutes; not part of `test`
	@.venv/bin/python scripts/conformance

test-arm64: setup ## fetch an arm64 kernel and programs, and run the lab's links on them in QEMU; not part of `test`
	@scripts/arm64
	@.venv/bin/python -m pytest -q tests/arm64

test-dhcp: setup ## install Kea and ISC dhcpd: what they think of what is written for them, and DHCP under load; not part of `test`
	@scripts/dhcp-servers
	@.venv/bin/python -m pytest -q tests/dhcp --ignore tests/dhcp/lab
	@.venv/bin/windrow lab test -- tests/dhcp/lab

test-scale: setup ## 1,000 simulated nodes and 5,000 networks on one real API server: what they ask of it, how long a change takes; not part of `test`
	@WINDROW_VERDICTS=1 .venv/bin/python -m pytest -q tests/kube/test_verdicts.py
	@.venv/bin/python -m pytest -q -s tests/scale

test-docs: setup ## type what README and docs show, in labs, and compare what comes; not part of `test`
	@.venv/bin/python -m pytest -q tests/docs

lint: setup ## ruff, mypy, import law
	@.venv/bin/python scripts/check lint

fmt: setup ## write the code the way ruff likes it
	@.venv/bin/ruff check --fix --quiet
	@.venv/bin/ruff format

bench: setup ## measure, in the lab kernel; the result is docs/benchmarks.md
	@.venv/bin/python -m bench

pins: setup ## write requirements/ anew from pyproject.toml, with the newest versions
	@.venv/bin/python scripts/pin --upgrade

manifests: setup ## write deploy/manifests and the chart's definitions of kinds anew; the first time helm is built
	@.venv/bin/python scripts/manifests

image: setup ## the image that the chart runs, as build/image/windrow.tar: Debian's packages unpacked, nothing run in a container
	@.venv/bin/python scripts/image

test-image: setup ## make the image twice and compare, and look into it; not part of `test`
	@.venv/bin/python -m pytest -q tests/image

manual: setup ## write docs/commands, the reference of all commands, anew
	@.venv/bin/python scripts/manual

site: setup ## the pages as a site in build/site/html; a link that leads nowhere is an error
	@scripts/tools
	@.venv/bin/python scripts/site

deb: ## the Debian package, in dist/, by Debian's own tools; lintian has to like it
	@scripts/deb

test-deb: setup deb ## that package in a clean Debian: installed, upgraded and back, removed, purged; not part of `test`
	@scripts/debian-packages mmdebstrap
	@.venv/bin/python -m pytest -q tests/deb

release: setup ## wheel, source, Debian and RPM packages, what they are made of (SBOM), in dist/; each of them checked
	@scripts/debian-packages mmdebstrap
	@scripts/release

clean: ## remove everything that was made here (not the Debian packages)
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests bench -name __pycache__ -prune -exec rm -rf {} +
