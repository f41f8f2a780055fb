import numpy as np
import pytest

from glus_edge.runtime.bundle.precisions import DTYPES, precision_of


@pytest.mark.parametrize("precision", DTYPES)
def test_a_precision_and_its_dtype_name_each_other(precision):
    assert precision_of(DTYPES[precision]) == precision
    assert precision == f"fp{8 * np.dtype(DTYPES[precision]).itemsize}"
