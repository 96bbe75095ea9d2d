# Short names for what bootstrap.py does; nothing needs make.
PYTHON ?= python3

.PHONY: demo test check verify bench
demo test check:
	$(PYTHON) bootstrap.py $@

# everything, the slow tests and the examination of each task included
verify: check
	$(PYTHON) bootstrap.py test -m ""
	.venv/bin/python benchmarks/tasks.py mini

bench:
	$(PYTHON) bootstrap.py bench
