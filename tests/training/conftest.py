import pytest


@pytest.fixture
def learner():
    from glus_edge.training.train import build_learner
    from tests.training.tiny import tiny_settings

    return build_learner(tiny_settings())
