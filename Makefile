.DEFAULT_GOAL := help
# Hundreds of tests start a process each: without compiled modules each would spend seconds on compiling them.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help setup demo clean-demo test check bench bench-faults docs lock takeout evidence lab lab-down test-openstack test-openstack-full bench-openstack test-mixed test-every-step

help:  ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## Install what the checkout needs into .venv; quick when up to date
	@tools/setup.sh

demo: setup  ## Two sites, a chain with real packets, faults and their healing, in a minute
	@.venv/bin/python -m demo

clean-demo: setup  ## Remove every trace of the demo
	@.venv/bin/python -m demo clean

test: setup  ## All tests, under every supported Python that is installed
	@.venv/bin/python tools/test_pythons.py

check: setup  ## Format, lint, types, import contracts, dependencies, fast tests, in under a minute
	@.venv/bin/python tools/check.py

test-mixed: setup  ## Kill an old and a new process of a mixed cluster at every step of every verb
	@.venv/bin/pytest -q tests/faults/test_mixed_cluster.py --every-step

test-every-step: setup  ## What make test takes samples of, whole: faults at every step, both stores (an hour or two)
	@FARSITE_FUZZ_EXAMPLES=20 .venv/bin/pytest -q -n 3 --every-step -m "not openstack" tests/faults tests/api tests/notifications tests/linux tests/store tests/vnfs tests/simulation

bench: setup  ## Measure what DESIGN promises, and say by how much a figure is missed
	@.venv/bin/python -m bench

docs: setup  ## Write the reference pages anew from the program's tables
	@.venv/bin/python tools/reference.py

lock: setup  ## Bring uv.lock up to date with pyproject.toml
	@.build/uv/bin/uv lock

takeout: setup  ## Take one behaviour after another out of a copy, and see its tests fail (WORDS=R-33 chooses)
	@.venv/bin/python tools/takeout.py $(WORDS)

evidence: setup  ## Try the shipped adapters by the conformance kit and record it (WORDS=haproxy, WORDS=--stale choose)
	@.venv/bin/python tools/evidence.py $(WORDS)

lab: setup  ## Bring up two real OpenStack sites on this machine (root, Debian 12)
	@.venv/bin/python -m lab.openstack up

lab-down: setup  ## Take them down; their data stays
	@.venv/bin/python -m lab.openstack down

test-openstack: setup  ## Tests on real OpenStack: install it, start it, test, stop it
	@.venv/bin/python -m tools.test_openstack

test-openstack-full: setup  ## The same with the slow tests, and on the older release too
	@.venv/bin/python -m tools.test_openstack --full --report docs/reference/openstack-tests.md

bench-faults: setup  ## What fault management has to reach, in one table (two hours)
	@.venv/bin/python -m bench fault-management

bench-openstack: setup  ## Farsite beside plain Heat and Tacker, on a laboratory that is up
	@.venv/bin/python -m bench.openstack
