# Datacenter GPUs (x86-64): CUDA, TensorRT and Python from NVIDIA's container; export included.
#
#   docker build -f docker/datacenter.Dockerfile -t dawn-edge:datacenter .
#   docker run --rm --gpus all -v $PWD/build:/data dawn-edge:datacenter \
#       dawn-export --model dream --output /data/dream --target tensorrt --precision fp16
#
# Read for plausibility only: neither built nor run. The tag decides the release of TensorRT, and
# plans are tied to it; change it on purpose.
ARG BASE=nvcr.io/nvidia/tensorrt:25.10-py3
FROM ${BASE}

WORKDIR /opt/dawn-edge
COPY pyproject.toml README.md LICENSE ./
COPY export export
COPY runtime runtime
COPY calibration calibration
COPY models/dawn_models models/dawn_models

RUN python3 -m pip install --no-cache-dir ".[export,tensorrt]"

WORKDIR /data
CMD ["dawn-doctor"]
