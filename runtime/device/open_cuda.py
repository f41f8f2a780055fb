"""CUDA by the name of the library that reaches it."""

from glus_edge.runtime.device.cuda_api import Cuda
from glus_edge.runtime.errors import EngineError

IMPLEMENTATIONS = ("auto", "cuda-python", "pycuda")


def open_cuda(implementation: str = "auto") -> Cuda:
    """CUDA on device 0. 'auto' prefers cuda-python, which can capture graphs.

    Errors: EngineError for an unknown name, a missing package, driver or GPU.
    """
    if implementation not in IMPLEMENTATIONS:
        raise EngineError(f"CUDA interface: got {implementation!r}, expected one of {', '.join(IMPLEMENTATIONS)}")
    causes = []
    for name in ("cuda-python", "pycuda") if implementation == "auto" else (implementation,):
        try:
            return _open(name)
        except ImportError as error:
            causes.append(f"{name}: {str(error).splitlines()[0]}")
    raise EngineError(f"CUDA from Python: {'; '.join(causes)}; pip install 'glus-edge[tensorrt]'")


def _open(name: str) -> Cuda:
    if name == "pycuda":
        from glus_edge.runtime.device.cuda_pycuda import PyCuda

        return PyCuda()
    from glus_edge.runtime.device.cuda_bindings import CudaBindings

    return CudaBindings()
