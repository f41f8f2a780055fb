"""TEST DOUBLES of libraries that hold pictures in CUDA memory (a CudaDouble's) and hand them out without a copy.

What they hold is written by a stream of theirs, as late as it may be.
"""

import ctypes

import numpy as np

from glus_edge.runtime.device import dlpack

_KEPT = []  # capsules' structures and callbacks live as long as the tests


class Held:
    """A picture in device memory, `offset` bytes into its allocation, its rows `gap` bytes apart."""

    def __init__(self, cuda, rgb, offset=0, gap=0, strides=True):
        height, width, _ = rgb.shape
        self.cuda, self.shape, self.stream = cuda, rgb.shape, cuda.create_stream()
        self.pitch = 3 * width + gap
        self.strides = (self.pitch, 3, 1) if strides or gap else None
        self.block = cuda.allocate(offset + height * self.pitch)
        self.address = self.block + offset
        self.write(rgb)

    def write(self, rgb):
        """Enqueues other contents."""
        padded = np.full((self.shape[0], self.pitch), 77, np.uint8)
        padded[:, : 3 * self.shape[1]] = rgb.reshape(self.shape[0], -1)
        _KEPT.append(padded)
        self.cuda.copy_to_device(self.address, padded.ctypes.data, padded.nbytes, self.stream)


class CudaArrayHolder(Held):
    """Offers the CUDA Array Interface; `changes` replace its entries, None removes one."""

    def __init__(self, cuda, rgb, changes=None, **layout):
        super().__init__(cuda, rgb, **layout)
        self.changes = changes or {}

    @property
    def __cuda_array_interface__(self):
        entries = {"shape": self.shape, "typestr": "|u1", "data": (self.address, True), "version": 3}
        entries |= {"strides": self.strides, "stream": self.stream} | self.changes
        return {name: value for name, value in entries.items() if value is not None}


class DlpackHolder(Held):
    """Offers DLPack, plain or versioned; counts what was given back."""

    def __init__(self, cuda, rgb, versioned=True, kind=dlpack.CUDA, number=0, dtype=(1, 8, 1), **layout):
        super().__init__(cuda, rgb, **layout)
        self.versioned, self.device, self.dtype, self.deleted = versioned, (kind, number), dtype, 0

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, *, stream, **options):
        if options and not self.versioned:
            raise TypeError("unexpected keyword argument 'max_version'")
        self.cuda.follow(stream, self.stream)
        return capsule(self)


def capsule(held):
    tensor = dlpack._Tensor()
    tensor.data, tensor.byte_offset = held.block, held.address - held.block
    tensor.device.kind, tensor.device.number = held.device
    tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes = held.dtype
    tensor.dimensions = len(held.shape)
    sizes = ctypes.c_int64 * len(held.shape)
    shape = sizes(*held.shape)
    tensor.shape = ctypes.cast(shape, ctypes.POINTER(ctypes.c_int64))
    if held.strides is not None:
        strides = sizes(*held.strides)
        tensor.strides = ctypes.cast(strides, ctypes.POINTER(ctypes.c_int64))
        _KEPT.append(strides)

    def delete(address):
        assert address == ctypes.addressof(managed)
        held.deleted += 1

    deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(delete)
    managed = dlpack._ManagedVersioned(major=1, minor=1) if held.versioned else dlpack._Managed()
    managed.tensor, managed.deleter = tensor, ctypes.cast(deleter, ctypes.c_void_p).value
    _KEPT.extend((shape, deleter, managed))
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    return new(ctypes.addressof(managed), dlpack._VERSIONED if held.versioned else dlpack._PLAIN, None)
