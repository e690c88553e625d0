"""Tests import their helpers by name, and leave the number of threads as it was."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _threads():
    from edgecnn import config

    before = config._threads
    yield
    config._threads = before
