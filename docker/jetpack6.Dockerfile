# NOT RUN: written from NVIDIA's documentation; no Jetson was at hand to build or start it.
# The base image's tag was not pulled either: if it is gone, take the newest of the same JetPack or CUDA major version.
# Jetson Orin, JetPack 6 (L4T R36): TensorRT 10.3, CUDA 12.6, Python 3.10, all in the base image.
#   docker build -f docker/jetpack6.Dockerfile -t glus-edge:jetpack6 .
#   docker run --runtime nvidia --rm -v /path/to/bundle:/bundle glus-edge:jetpack6 build /bundle
FROM nvcr.io/nvidia/l4t-jetpack:r36.4.0

RUN apt-get update \
 && apt-get install -y --no-install-recommends python3-pip python3-venv \
 && rm -rf /var/lib/apt/lists/*
# TensorRT's Python package is the system's: the virtual environment must see it.
RUN python3 -m venv --system-site-packages /opt/glus-edge
COPY . /src
# cuda-bindings 12.8 is the oldest with a wheel for Python 3.10 on this board; 12.9 and later are further from its driver's
# CUDA 12.6. The extra [tensorrt] would fetch another TensorRT.
RUN /opt/glus-edge/bin/pip install --no-cache-dir /src "cuda-bindings==12.8.*"
ENV PATH=/opt/glus-edge/bin:$PATH
ENTRYPOINT ["glus-edge"]
CMD ["doctor"]
