"""DLPack read with ctypes: where another library's tensor lies, without torch or CuPy in the process.

Structures are those of dlpack.h 1.x (https://dmlc.github.io/dlpack/latest/c_api.html), and those of versions before 1.0,
which have no flags.
"""

import ctypes
import weakref
from typing import Any, NamedTuple

from glus_edge.runtime.errors import InputError

CPU, CUDA, CUDA_HOST, CUDA_MANAGED = 1, 2, 3, 13  # DLDeviceType
_UNSIGNED = 1  # DLDataTypeCode
_NEWEST = (1, 0)  # that is understood; what a later 1.x adds does not change these structures
_PLAIN, _PLAIN_USED = b"dltensor", b"used_dltensor"
_VERSIONED, _VERSIONED_USED = b"dltensor_versioned", b"used_dltensor_versioned"


class _Device(ctypes.Structure):
    _fields_ = [("kind", ctypes.c_int32), ("number", ctypes.c_int32)]


class _DataType(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16)]


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("dimensions", ctypes.c_int32),
        ("dtype", _DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


# Called with the interpreter's lock held, as a capsule's own destructor would call it.
_Deleter = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)


class _Managed(ctypes.Structure):
    _fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


class _ManagedVersioned(ctypes.Structure):
    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    ]


_api: Any = ctypes.pythonapi
_capsule_name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", _api))
_capsule_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", _api))
_rename_capsule = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_SetName", _api))


class Bytes(NamedTuple):
    """A tensor of uint8 that another library owns."""

    address: int
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None  # bytes; None: dense
    device: tuple[int, int]  # kind and number
    owner: object  # the memory is given back when no one holds this


class _Owner:
    """Calls a tensor's deleter when it is dropped."""


def bytes_of(source: Any, stream: int) -> Bytes:
    """The tensor of an object with `__dlpack__`, ready for what is enqueued on `stream` from now on.

    InputError: it cannot be exported, or does not hold uint8.
    """
    try:
        try:
            capsule = source.__dlpack__(stream=stream, max_version=_NEWEST)
        except TypeError:  # made before DLPack 1.0
            capsule = source.__dlpack__(stream=stream)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"frame: got {_first_line(error)} from DLPack, expected a tensor of uint8 [H, W, 3]"
        ) from error
    try:
        name = _capsule_name(capsule)
    except ValueError:
        name = None  # no capsule at all
    if name not in (_PLAIN, _VERSIONED):
        raise InputError(f"frame: got a DLPack capsule {name!r}, expected one that no one has taken; export it again")
    address = _capsule_pointer(capsule, name)
    managed: Any = ctypes.cast(address, ctypes.POINTER(_ManagedVersioned if name == _VERSIONED else _Managed)).contents
    if name == _VERSIONED and managed.major > _NEWEST[0]:
        raise InputError(f"frame: got DLPack {managed.major}.{managed.minor}, expected 1.x; upgrade glus-edge")
    _rename_capsule(capsule, _VERSIONED_USED if name == _VERSIONED else _PLAIN_USED)  # ours now
    owner = _Owner()
    if managed.deleter:
        weakref.finalize(owner, _Deleter(managed.deleter), address).atexit = False  # the producer may be gone by then
    tensor = managed.tensor
    found = (tensor.dtype.code, tensor.dtype.bits, tensor.dtype.lanes)
    if found != (_UNSIGNED, 8, 1):
        raise InputError(f"frame: got DLPack type (code, bits, lanes) {found}, expected uint8, {(_UNSIGNED, 8, 1)}")
    count = tensor.dimensions
    return Bytes(
        address=(tensor.data or 0) + tensor.byte_offset,
        shape=tuple(tensor.shape[:count]),
        strides=tuple(tensor.strides[:count]) if tensor.strides else None,
        device=(tensor.device.kind, tensor.device.number),
        owner=owner,
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
