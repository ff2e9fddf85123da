"""A caller made of code, for demo, benchmarks and tests."""
