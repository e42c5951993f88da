"""What the tests of this folder share."""

import pytest


@pytest.fixture
def cluster(cluster):
    """The server of the session; its settings are the defaults again after the test."""
    yield cluster
    cluster.reset()
