"""What the package is measured against, each a script: ``python -m benchmarks.NAME``."""
