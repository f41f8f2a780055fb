import pytest

from glus_edge.export.synthetic.sizes import SIZES
from glus_edge.export.vision.dimensions import Sam2Sizes

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("name", SIZES)
def test_sizes_told_without_the_sam2_package_are_those_of_its_configuration(name: str) -> None:
    size = SIZES[name]
    assert size.sam2_sizes() == Sam2Sizes.from_tree(size.sam2_tree())
