import gc

import numpy as np

from glus_edge.benchmarks.profiler.memory_owners import MemoryOwners, OwnedDevice
from glus_edge.runtime.device.device import HostDevice, host_array
from glus_edge.runtime.device.scratch import Scratch


def test_arrays_count_while_they_are_alive() -> None:
    owners = MemoryOwners()
    kept, dropped = np.zeros(1000), np.zeros(2000)
    owners.add("queue", kept)
    owners.add("queue", dropped)
    assert owners.bytes() == {"queue": 24_000}
    del dropped
    gc.collect()
    assert owners.bytes() == {"queue": 8000}


def test_a_device_that_counts_is_the_device_it_counts_for() -> None:
    owners = MemoryOwners()
    device = OwnedDevice(HostDevice(), owners)
    scratch = Scratch(device, 16, "float32")
    target = device.zeros((4,), "float32")
    device.write(target, np.arange(4, dtype=np.float32))
    device.copy(scratch.view(4), target)
    assert host_array(device.read(scratch.view(4))).tolist() == [0, 1, 2, 3]
    assert not device.concurrent
    assert owners.bytes() == {"other": 64 + 16}  # no file of the runtime asked for them
