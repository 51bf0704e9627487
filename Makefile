PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup demo sources test test-browser test-slurm test-kills lab site voila notebooks lint clean

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one with: make setup PYTHON=python3.12"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $(STAMP)

# Everything on the miniature GTA5 world: seven notebooks, one table.
demo: setup
	$(BIN)/iapc run papermill_runs/mini_gta5.yaml

# Trains the miniature's six source networks again: about two hours on two cores, the first time
# with a network connection, for the weights that MobileNetV2 has from photographs.
sources: setup
	for world in mini_gta5 mini_synthia; do for seed in 0 1 2; do \
	  run=papermill_runs/$$world-source$$seed; \
	  $(BIN)/iapc run papermill_runs/$$world.yaml --seed $$seed --out $$run --until 01_source_model \
	    --set source.checkpoint=null --set miniature.source_train=800 && \
	  rm -f $$run/new.* && $(BIN)/iapc export $$run $$run/new.safetensors && \
	  mv $$run/new.safetensors papermill_runs/networks/$$world-seed$$seed.safetensors && \
	  mv $$run/new.json papermill_runs/networks/$$world-seed$$seed.json || exit 1; \
	done; done

# Tests of the library; every notebook as it stands, on the miniature; the solutions in them.
test: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --ignore tests/solutions tests
	$(BIN)/python -m pytest --nbval-lax --nbval-cell-timeout=1200 -p no:cacheprovider notebooks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 tests/solutions

# Notebooks and explorers in JupyterLab and Voila, in a real browser.
test-browser: setup
	@command -v chromium >/dev/null || { echo "The browser tests need Chromium; on Debian, as root:"; \
	  echo "  apt-get install --no-install-recommends chromium fonts-dejavu"; exit 2; }
	IAPC_BROWSER_TESTS=1 $(BIN)/python -m pytest tests/browser

# The batch graph on a Slurm cluster of two emulated nodes; as root, where Slurm is installed.
test-slurm: setup
	IAPC_SLURM_TESTS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs tests/slurm

# A very small batch that is killed three times, against one that is left alone: about 25 minutes.
test-kills: setup
	IAPC_KILL_TESTS=1 $(BIN)/python -m pytest tests/kills

lab: setup
	$(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/notebooks

# The notebooks as committed, the teaching pages and the reference, to read without a network.
site: setup
	$(BIN)/sphinx-build -W --keep-going -E -a -q -b html -c docs -d build/doctrees . build/site
	@echo "Open build/site/index.html"

# The explorers as web pages, without code.
voila: setup
	$(BIN)/voila notebooks/explorers

# Executes the notebooks in place, as they are committed.
notebooks: setup
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace \
	  --ExecutePreprocessor.record_timing=False --ExecutePreprocessor.store_widget_state=False \
	  notebooks/*.ipynb notebooks/explorers/*.ipynb

lint: setup
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Removes what the miniature drew and ran; never your data sets or other runs.
clean:
	rm -rf data/miniature papermill_runs/mini_*-seed*/ papermill_runs/mini_*-source*/
