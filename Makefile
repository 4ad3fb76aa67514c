# Python 3.11 and make are all that `make demo` needs; `make test` also needs Java 17 and Maven (a real Kafka).

PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3.13 python3))
# Arguments for the command a target runs: make demo ARGS="--seconds 30 --json"
ARGS ?=

BIN := .venv/bin
UV := $(BIN)/uv
UV_VERSION := 0.13.9

# pip's settings in the environment hold for uv too. The folder of wheels matters most: a CPU build of torch in it
# (2.11.0+cpu) outranks the registry's default build, whose CUDA libraries are 2.5 GB.
empty :=
comma := ,
ifdef PIP_FIND_LINKS
export UV_FIND_LINKS ?= $(subst $(empty) $(empty),$(comma),$(strip $(PIP_FIND_LINKS)))
endif
ifdef PIP_INDEX_URL
export UV_DEFAULT_INDEX ?= $(PIP_INDEX_URL)
endif
ifdef PIP_EXTRA_INDEX_URL
export UV_INDEX ?= $(PIP_EXTRA_INDEX_URL)
endif
ifdef PIP_CERT
export SSL_CERT_FILE ?= $(PIP_CERT)
endif

.DEFAULT_GOAL := help
.PHONY: help demo setup test bench lint kafka lock clean

help:  ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 16

demo: .venv/.local  ## the whole product on this machine, nothing to install: simulate, train, stream, show
	$(BIN)/streamer demo $(ARGS)

setup: .venv/.dev  ## the virtual environment, with all that development needs
	@echo "Ready: $(BIN)/streamer --help"

test: .venv/.dev  ## every test, with a real Kafka and a real Redis; ARGS go to pytest
	$(BIN)/python -m pytest $(ARGS)

bench: .venv/.bench  ## beside peers, with a real Kafka and a real Redis; parts and options: ARGS=--help
	$(BIN)/python -m benchmarks $(ARGS)

lint: .venv/.dev  ## style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

kafka:  ## a real Kafka on 127.0.0.1:9092 until Ctrl-C
	ops/kafka/run $(ARGS)

lock: $(UV)  ## write constraints.txt anew from pyproject.toml: newest versions, Python 3.11 to 3.13, all systems
	env -u UV_FIND_LINKS UV_CUSTOM_COMPILE_COMMAND="make lock" $(UV) pip compile -q --universal --upgrade \
	  --python-version 3.11 --all-extras pyproject.toml -o constraints.txt

clean:  ## remove the virtual environment, Kafka's jars and the demo's leavings
	rm -rf .venv .kafka .demo build *.egg-info

# uv resolves and installs in a fraction of pip's time. It does not read pip.conf: where only that leads to a
# registry, pip does the work.
.venv/.%: pyproject.toml constraints.txt | $(UV)
	$(UV) pip install -q --python $(BIN)/python -c constraints.txt -e '.[$*]' \
	  || { echo "uv could not; trying pip"; $(BIN)/pip install -q -c constraints.txt -e '.[$*]'; }
	@touch $@

$(UV):
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	  || { echo "Python 3.11 to 3.13 is needed: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q uv==$(UV_VERSION)
