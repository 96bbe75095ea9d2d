# Short names for what bootstrap.py does; nothing needs make.
PYTHON ?= python3

.PHONY: demo test check verify adapters bench attacks faults
demo test check:
	$(PYTHON) bootstrap.py $@

# everything, the slow tests and the examination of each task included; the tables are kept in docs and benchmarks
verify: check
	$(PYTHON) bootstrap.py test -m "" -n 2 --dist loadfile
	.venv/bin/python benchmarks/tasks.py mini
	.venv/bin/python tests/adapters/run.py --write

# one real step with each library that mlgym has an adapter for, each in an environment of its own (some GB in the cache)
adapters: check
	.venv/bin/python tests/adapters/run.py

bench:
	$(PYTHON) bootstrap.py bench

# the longest: every attack on every task and sandbox, which goes on where it was stopped; 200 disturbed episodes
attacks:
	.venv/bin/python benchmarks/attacks.py
faults:
	.venv/bin/python benchmarks/faults.py --episodes 200 --seed 0
