"""NumPy restatements of the models of others; see `tests.support.oracle`."""
