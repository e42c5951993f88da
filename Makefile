VENV ?= .venv
PYTHON ?= python3
FLASK = $(VENV)/bin/flask --app wsgi
PIP = $(VENV)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help run check test soak bench lint audit format migration clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## Set up what is missing, migrate the database, and serve
	@if [ -z "$$GATEWAY_MAIL_SERVER" ]; then \
		export GATEWAY_MAIL_SUPPRESS_SEND="$${GATEWAY_MAIL_SUPPRESS_SEND:-1}"; fi; \
	$(FLASK) db upgrade && \
	exec $(VENV)/bin/gunicorn -c python:gateway.deploy.gunicorn wsgi:app

check: $(VENV)/.dev ## Run the tests that need no nginx, no browser and no soak (2 minutes)
	@echo 'Running the quick tests in two processes; this takes about 2 minutes.'
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal -m 'not nginx and not browser and not soak'

test: $(VENV)/.dev ## Run all tests; they start their own servers (5 minutes)
	@echo 'Running all tests in two processes; this takes about 5 minutes.'
	$(VENV)/bin/python -m pytest -n 2 --dist worksteal

soak: $(VENV)/.dev ## Repeat races, faults and random input for an hour, and print what was lost
	@echo 'Repeating races, faults and random input; this takes about an hour.'
	$(VENV)/bin/python -m pytest --soak -m soak

bench: $(VENV)/.dev ## Compare the service with its floor, and write the table (15 minutes)
	@echo 'Measuring the service and its floor; this takes about 15 minutes.'
	$(VENV)/bin/python tests/bench

lint: $(VENV)/.dev ## Check style and types
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

audit: $(VENV)/.dev ## Look up known vulnerabilities of what is installed
	@$(VENV)/bin/python .ci/audit.py $(VENV)/bin/pip-audit --local --skip-editable --format json

format: $(VENV)/.dev ## Rewrite the code in the house style
	$(VENV)/bin/ruff check --fix
	$(VENV)/bin/ruff format

migration: $(VENV)/.dev ## Draft a migration from the models: make migration NAME="add a column"
	$(FLASK) db upgrade
	$(FLASK) db migrate -m "$(NAME)" --rev-id \
		"$$(printf %04d $$(($$(ls gateway/migrations/versions/[0-9]*.py | wc -l) + 1)))"

clean: ## Remove what make made, but not instance/
	rm -rf $(VENV) *.egg-info build .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed: make PYTHON=python3.x" if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: $(VENV)/bin/pip setup.cfg constraints.txt
	$(PIP) --editable '.[postgres]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/pip setup.cfg constraints.txt
	$(PIP) --editable '.[dev]'
	@touch $@
