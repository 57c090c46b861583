# Jetson Orin with JetPack 6.2: CUDA 12.6, TensorRT 10.3, Python 3.10.
#
#   docker build -f docker/jetpack.Dockerfile -t dawn-edge:jetpack .
#   docker run --rm --runtime nvidia -v $PWD/build:/data dawn-edge:jetpack dawn-doctor /data/artifact
#
# Checked by rules (tests/repository/test_dockerfiles.py), neither built nor run on a board. Build it on the board, or on an arm64
# machine. Not for Thor: there the base is an image of JetPack 7 with CUDA 13 and Python 3.12.
FROM nvcr.io/nvidia/l4t-tensorrt:r10.3.0-devel

RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-pip python3-libnvinfer \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/dawn-edge
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY export export
COPY runtime runtime
COPY calibration calibration
COPY serve serve
COPY eval eval
COPY models/dawn_models models/dawn_models

# NVRTC of the very CUDA that JetPack brings: kernels of CUDA 13 are none for its driver. Without
# [export], so neither torch nor onnx.
RUN python3 -m pip install --no-cache-dir ".[jetson6]"

WORKDIR /data
CMD ["dawn-doctor"]
