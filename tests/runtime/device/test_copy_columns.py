"""Columns of one array into those of another, on the host and on CUDA alike."""

import numpy as np
import pytest

from glus_edge.runtime.device.cuda_device import CudaDevice
from glus_edge.runtime.device.device import HostDevice
from tests.runtime.cuda_double import CudaDouble


@pytest.mark.parametrize("device", [HostDevice(), CudaDevice(CudaDouble())], ids=["host", "cuda"])
def test_only_the_columns_asked_for_are_written(device):
    target, source = device.zeros((3, 5, 2), "float32"), device.empty((3, 4, 2), "float32")
    values = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    device.write(source, values)
    device.copy_columns(target, 2, source, 1, 3)
    wanted = np.zeros((3, 5, 2), np.float32)
    wanted[:, 2:] = values[:, 1:]
    assert np.array_equal(device.read(target), wanted)


@pytest.mark.parametrize("device", [HostDevice(), CudaDevice(CudaDouble())], ids=["host", "cuda"])
@pytest.mark.parametrize(("start", "first", "count"), [(3, 0, 3), (0, 2, 3), (-1, 0, 1)])
def test_columns_that_are_not_there_are_our_own_bug(device, start, first, count):
    with pytest.raises(AssertionError):
        device.copy_columns(device.zeros((3, 5), "int32"), start, device.zeros((3, 4), "int32"), first, count)
