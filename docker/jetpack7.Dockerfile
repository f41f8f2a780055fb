# NOT RUN: written from NVIDIA's documentation; no Jetson was at hand to build or start it.
# The base image's tag was not pulled either: if it is gone, take the newest of the same JetPack or CUDA major version.
# Jetson Thor, JetPack 7: CUDA 13 and Python 3.12. From JetPack 7 on Jetsons run NVIDIA's common (SBSA) images.
#   docker build -f docker/jetpack7.Dockerfile -t glus-edge:jetpack7 .
#   docker run --runtime nvidia --rm -v /path/to/bundle:/bundle glus-edge:jetpack7 build /bundle
FROM nvcr.io/nvidia/tensorrt:25.10-py3

RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-venv \
 && rm -rf /var/lib/apt/lists/*
# TensorRT's Python package is the image's: the virtual environment must see it.
RUN python3 -m venv --system-site-packages /opt/glus-edge
COPY . /src
RUN /opt/glus-edge/bin/pip install --no-cache-dir /src "cuda-bindings>=13,<14"
ENV PATH=/opt/glus-edge/bin:$PATH
ENTRYPOINT ["glus-edge"]
CMD ["doctor"]
