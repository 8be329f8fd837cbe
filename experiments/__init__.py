"""The paper's experiments, each a script: ``python -m experiments.NAME``."""
