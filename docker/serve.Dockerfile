# A server on a CPU, x86-64 or ARM: the runtime, ONNX Runtime and dawn-serve, no torch.
#
#   docker build -f docker/serve.Dockerfile -t dawn-edge:serve .
#   docker run --rm -p 127.0.0.1:8000:8000 -v $PWD/models/tiny-dream-int8:/model:ro \
#       -e DAWN_API_KEY dawn-edge:serve
#
# Checked by rules (tests/repository/test_dockerfiles.py), neither built nor run.
FROM python:3.11-slim

WORKDIR /opt/dawn-edge
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY export export
COPY runtime runtime
COPY calibration calibration
COPY serve serve
COPY eval eval
COPY models/dawn_models models/dawn_models

RUN python3 -m pip install --no-cache-dir ".[cpu,serve]" && useradd --system dawn

USER dawn
EXPOSE 8000
HEALTHCHECK CMD ["python3", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8000); c.request('GET', '/ready'); raise SystemExit(c.getresponse().status != 200)"]
# `docker stop` kills after ten seconds unless told otherwise, so answers have eight to end.
ENTRYPOINT ["dawn-serve", "/model", "--host", "0.0.0.0", "--grace", "8"]
