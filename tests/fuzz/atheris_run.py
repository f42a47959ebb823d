"""Runs one target under atheris: ``python -m tests.fuzz.atheris_run NAME [libFuzzer options]``."""

import sys

import atheris

with atheris.instrument_imports(include=["flask_larder"]):
    from tests.fuzz.targets import TARGETS

if __name__ == "__main__":
    target = TARGETS[sys.argv[1]]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], lambda data: target(data) and None)
    atheris.Fuzz()
