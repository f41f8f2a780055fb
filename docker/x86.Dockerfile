# NOT RUN: no machine with a container runtime and an NVIDIA GPU was at hand to build or start it.
# The base image's tag was not pulled either: if it is gone, take the newest of the same JetPack or CUDA major version.
# x86-64 with an NVIDIA GPU: TensorRT and cuda-bindings from their wheels, the driver from the host.
#   docker build -f docker/x86.Dockerfile -t glus-edge:x86 .
#   docker run --gpus all --rm -v /path/to/bundle:/bundle glus-edge:x86 build /bundle
FROM nvcr.io/nvidia/cuda:13.0.1-base-ubuntu24.04

RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-venv \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/glus-edge
COPY . /src
RUN /opt/glus-edge/bin/pip install --no-cache-dir "/src[tensorrt]"
ENV PATH=/opt/glus-edge/bin:$PATH
ENTRYPOINT ["glus-edge"]
CMD ["doctor"]
