# music: set up, learn from the bundled corpus for three minutes and compose four pieces into out/
# test:  set up and run lint, types and tests
# nightly: damage 100,000 files at random and read them
# page:  build the studio's page into the package (needs Node 20 or newer)
# chromium: install Debian's Chromium, in which the page is tested, if that can be done

PYTHON ?= python3
VENV ?= .venv
MINUTES ?= 3
BIN := $(VENV)/bin
BUILT := $(abspath page/node_modules/.built)

.PHONY: music test nightly lint types unit page page-test page-checks chromium clean

music: $(VENV)/.train
	$(BIN)/cadenza run --bundled --minutes $(MINUTES) --out out

test: lint types page-test unit

nightly: $(VENV)/.dev
	folder=$$(mktemp -d) && $(BIN)/python tests/mutations.py --cases 100000 --folder $$folder; status=$$?; rm -r $$folder; exit $$status

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

unit: $(VENV)/.dev
	$(BIN)/python -m pytest

chromium:
	@command -v chromium >/dev/null \
		|| { [ "$$(id -u)" = 0 ] && apt-get -qq update && apt-get -qq --yes install chromium; } >/dev/null 2>&1 \
		|| echo "chromium: cannot be installed here; the tests in a browser are skipped"

page: page/node_modules/.package-lock.json
	cd page && npm run --silent build

# The page's types and tests, and that what is committed is what its sources build.
page-test:
	@if node -e 'process.exit(+(parseInt(process.versions.node) < 20))' 2>/dev/null; then \
		$(MAKE) --no-print-directory page-checks; \
	else \
		echo "page-test: skipped, since there is no Node 20 or newer"; \
	fi

page-checks: page/node_modules/.package-lock.json
	cd page && npm run --silent test
	cd page && npm run --silent build -- --outDir $(BUILT) --logLevel warn
	diff -r $(BUILT) src/cadenza/web/page || { echo "the page was not built from these sources; run: make page"; exit 1; }

page/node_modules/.package-lock.json: page/package.json page/package-lock.json
	cd page && npm ci --silent
	touch $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.train: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train]'
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train,web,audio,dev]'
	touch $@ $(VENV)/.train

clean:
	rm -rf $(VENV) page/node_modules out .mypy_cache .ruff_cache .pytest_cache
