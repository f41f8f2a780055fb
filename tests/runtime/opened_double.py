"""A bundle with engines of the test doubles, opened."""

import shutil

from glus_edge.runtime import Segmenter
from glus_edge.runtime.bundle.bundle import Bundle
from glus_edge.runtime.bundle.signatures import Limits
from glus_edge.runtime.engine_build.builder import EngineBuild, build_engines
from glus_edge.runtime.tensorrt.engine import TensorRtBackend, TensorRtOptions
from glus_edge.runtime.tensorrt.plan import BuildSettings
from tests.runtime import golden
from tests.runtime.cuda_double import CudaDouble
from tests.runtime.tensorrt_double import tensorrt_double


def with_engines(bundle, folder, limits=None):
    shutil.copytree(bundle, folder, ignore=shutil.ignore_patterns("engines"))
    cuda = CudaDouble()
    build = EngineBuild(Bundle.open(folder), tensorrt_double(cuda), limits or Limits(), BuildSettings())
    assert len(list(build_engines(build, cuda))) == 8
    return folder


class Opened:
    """A segmenter over the doubles, and the doubles."""

    def __init__(self, folder, cuda=None, **options):
        self.cuda = cuda or CudaDouble()
        self.tensorrt = tensorrt_double(self.cuda)
        bundle = Bundle.open(folder)
        self.backend = TensorRtBackend(
            bundle, self.tensorrt, self.cuda, TensorRtOptions(**{"unchecked": True} | options)
        )
        self.segmenter = Segmenter(bundle, self.backend, self.backend.open_pixels())

    def masks(self, sentences, **settings):
        return [result.masks for result in self.segmenter.segment(golden.FRAMES, sentences, **settings)]

    def frames(self, sentences, **settings):
        """Log and copies of each frame."""
        for _ in self.segmenter.segment(golden.FRAMES, sentences, **settings):
            yield self.cuda.log, self.cuda.copies
            self.cuda.log.clear()
            self.cuda.copies.clear()
