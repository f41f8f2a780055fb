from collections.abc import Iterator

import pytest


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny products are quicker on one thread, and do not wait for a busy machine's other cores."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def learner(one_thread):
    from glus_edge.training.learner import build_learner
    from tests.training.tiny import tiny_settings

    return build_learner(tiny_settings())
