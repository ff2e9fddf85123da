"""Benchmarks: ratios within one run, with the machine, the models and the date beside them."""
