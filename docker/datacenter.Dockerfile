# Datacenter GPUs (x86-64): CUDA, TensorRT and Python from NVIDIA's container; export included.
#
#   docker build -f docker/datacenter.Dockerfile -t dawn-edge:datacenter .
#   docker run --rm --gpus all -v $PWD/build:/data dawn-edge:datacenter \
#       dawn-export --model dream --output /data/dream --target tensorrt --precision fp16
#
# Checked by rules (tests/repository/test_dockerfiles.py), neither built nor run. The tag decides the release of TensorRT, and
# plans are tied to it; change it on purpose. This one is of CUDA 13, for drivers from 580 on. For
# older drivers take a base of CUDA 12 and its packages:
#
#   docker build --build-arg BASE=nvcr.io/nvidia/tensorrt:25.06-py3 --build-arg EXTRA=tensorrt-cu12 ...
ARG BASE=nvcr.io/nvidia/tensorrt:25.10-py3
FROM ${BASE}
ARG EXTRA=tensorrt

WORKDIR /opt/dawn-edge
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY export export
COPY runtime runtime
COPY calibration calibration
COPY serve serve
COPY eval eval
COPY models/dawn_models models/dawn_models

# pip's own configuration says where packages come from; an index of CPU builds of torch, named by
# --build-arg PIP_EXTRA_INDEX_URL=..., saves 2.5 GB.
ARG PIP_EXTRA_INDEX_URL
RUN python3 -m pip install --no-cache-dir ".[export,${EXTRA}]"

WORKDIR /data
CMD ["dawn-doctor"]
