"""Measurements of Flask-Larder beside its peers, in one run: ``python -m benchmarks``."""
