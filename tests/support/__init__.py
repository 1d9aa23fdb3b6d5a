"""Support for tests: importable by tests and benchmarks, imported by nothing in the product."""
