# Every target sets up what it needs first; see scripts/bootstrap. `make` alone lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup demo lint fmt test test-fast test-kernel test-kube test-cluster test-flannel test-conformance \
    test-scale test-kills test-dhcp test-arm64 test-docs test-guest test-image test-deb test-systemd manual manifests \
    pins bench image deb release site clean

help: ## list the targets
	@awk -F ':.*## ' '/^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z0-9-]+:.*## / { printf "  make %-16s  %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##@ Set up

setup: ## Debian packages, virtual environment, Python packages, windrow itself, kernels of the lab
	@scripts/bootstrap

demo: ## four virtual machines, two nodes, two switches in a real kernel; then a switch that is broken, and found, and pods that a policy parts
	@scripts/bootstrap demo
	@.venv/bin/windrow lab doctor --first --kernel uml --kernel native
	@.venv/bin/windrow lab run seed --svg build/seed.svg
	@.venv/bin/windrow lab run broken-switch
	@.venv/bin/windrow lab run pods-and-policy

##@ Work

lint: setup ## ruff, mypy, import law
	@.venv/bin/python scripts/check lint

fmt: setup ## write the code the way ruff likes it
	@.venv/bin/ruff check --fix --quiet
	@.venv/bin/ruff format

##@ Test

test: setup ## everything: lint, tests, those in the lab kernel and on a real Kubernetes API server
	@.venv/bin/python scripts/check lint host kernel kube

test-fast: setup ## lint and the tests that need no lab kernel
	@.venv/bin/python scripts/check lint host

test-kernel: setup ## the tests in the lab kernel only
	@.venv/bin/python scripts/check kernel

test-kube: setup ## the tests on a real API server only; the first time it is built, which takes minutes
	@.venv/bin/python scripts/check kube

##@ Test what `make test` leaves out

test-cluster: setup ## labs with a whole Kubernetes: API server, kubelets, pods with NICs in VLANs (in `test`: without pods)
	@.venv/bin/python scripts/check cluster

test-flannel: setup ## a lab with nodes of real flannel in one overlay with Windrow's; the first time flannel is built, too
	@.venv/bin/python scripts/check flannel

test-conformance: setup ## Kubernetes' own end-to-end suite against the lab's Kubernetes; the first time it is built (minutes)
	@.venv/bin/python scripts/conformance

test-scale: setup ## 1,000 simulated nodes and 5,000 networks on one API server: what they ask of it, how long a change takes
	@WINDROW_VERDICTS=1 .venv/bin/python -m pytest -q tests/kube/test_verdicts.py
	@.venv/bin/python -m pytest -q -s tests/scale

test-kills: setup ## kill -9 at 500 moments of CNI calls and changes of network policies, beside a train of frames
	@WINDROW_KILLS=500 .venv/bin/windrow lab test -- -q -s tests/kernel/test_policy_kills.py

test-dhcp: setup ## Kea and ISC dhcpd, installed: what they think of what is written for them, and DHCP under load
	@scripts/dhcp-servers
	@.venv/bin/python -m pytest -q tests/dhcp --ignore tests/dhcp/lab
	@.venv/bin/windrow lab test -- tests/dhcp/lab

test-arm64: setup ## the lab's links on an arm64 kernel in QEMU; kernel and programs are fetched
	@scripts/arm64
	@.venv/bin/python -m pytest -q tests/arm64

test-docs: setup ## what README and docs show, typed in labs and compared
	@.venv/bin/python -m pytest -q tests/docs

test-guest: setup ## a guest with Debian's own qemu-ga, asked over the port that each machine has; one of `windrow vm start`, too
	@scripts/debian-packages qemu-guest-agent
	@.venv/bin/python -m pytest -q tests/guest

test-image: setup ## the image, made twice and compared, and what is in it
	@.venv/bin/python -m pytest -q tests/image

test-deb: setup deb ## the Debian package in a clean Debian: installed, upgraded and back, removed, purged
	@scripts/debian-packages mmdebstrap
	@.venv/bin/python -m pytest -q tests/deb

test-systemd: setup deb ## a Debian with a real systemd in QEMU: adopted, agent, reboot, upgraded, removed, as real-host.md says
	@scripts/debian-packages e2fsprogs mmdebstrap qemu-system-x86 user-mode-linux
	@scripts/debian-disk
	@.venv/bin/python -m pytest -q tests/systemd

##@ Write anew

manual: setup ## docs/commands, the reference of all commands, anew
	@.venv/bin/python scripts/manual

manifests: setup ## deploy/manifests and the chart's definitions of kinds, anew; the first time helm is built
	@.venv/bin/python scripts/manifests

pins: setup ## requirements/ anew from pyproject.toml, with the newest versions
	@.venv/bin/python scripts/pin --upgrade

bench: setup ## docs/benchmarks.md: measured in the lab kernel
	@.venv/bin/python -m bench

##@ Ship

image: setup ## the image that the chart runs, as build/image/windrow.tar: Debian's packages unpacked, nothing run in it
	@.venv/bin/python scripts/image

deb: ## the Debian package, in dist/, by Debian's own tools; lintian has to like it
	@scripts/deb

release: setup ## wheel, source, packages of Debian and RPM, what they are made of (SBOM), in dist/; each of them checked
	@scripts/debian-packages mmdebstrap
	@scripts/release

site: setup ## the pages as a site in build/site/html; a link that leads nowhere is an error
	@scripts/tools
	@.venv/bin/python scripts/site

##@ Clean up

clean: ## remove everything that was made here (not the Debian packages)
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests bench -name __pycache__ -prune -exec rm -rf {} +
