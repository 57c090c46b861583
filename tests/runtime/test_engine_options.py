"""Options of engines: in the name, as an object, or by the shorthand of an argument."""

from pathlib import Path

import pytest

from dawn_runtime import Decoder, OptionError
from dawn_runtime.artifact import Artifact
from dawn_runtime.cli.common import Parser
from dawn_runtime.cli.engine_flags import add_engine_flags
from dawn_runtime.engine.fake import FakeEngine
from dawn_runtime.engine.options import (
    OnnxRuntimeCpu,
    OnnxRuntimeCuda,
    engine_options,
    merged,
    split_engine,
)


def test_the_name_of_an_engine_may_hold_its_options() -> None:
    name, given = split_engine("onnxruntime-cpu:threads=2,low_memory=true")
    assert engine_options(name, given) == OnnxRuntimeCpu(threads=2, low_memory=True)
    assert engine_options(*split_engine("onnxruntime-cuda:cuda_graphs=true")) == OnnxRuntimeCuda(
        cuda_graphs=True
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("onnx", "unknown engine: 'onnx'"),
        ("onnxruntime-cpu:low_memory", "engine option 'low_memory' is not KEY=VALUE"),
        ("onnxruntime-cpu:low_memory=1", "low_memory is 1; expected True or False"),
        ("onnxruntime-cpu:threads=0", "threads is 0; expected an integer from 1 to"),
        ("onnxruntime-cpu:threads=1,threads=2", "threads is given twice"),
        ("onnxruntime-cpu:low_memry=true", "did you mean 'low_memory'"),
        ("tensorrt:cuda_graphs=true", "cuda_graphs is for onnxruntime-cuda and not for tensorrt"),
        ("tensorrt:threads=2", "threads is for onnxruntime-cpu and onnxruntime-cuda and not for"),
    ],
)
def test_a_bad_option_of_an_engine_is_one_line_and_wrong_usage(
    text: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(OptionError) as caught:
        engine_options(*split_engine(text))
    assert message in str(caught.value)
    parser = Parser("some-command", "Does something.")
    add_engine_flags(parser, prefix_megabytes=0)
    with pytest.raises(SystemExit):
        parser.parse_args(["--engine", text])
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_an_argument_and_the_name_may_agree_but_not_differ() -> None:
    assert merged({"threads": 2}, {"threads": 2, "low_memory": False}) == {"threads": 2}
    with pytest.raises(OptionError, match="threads is 3 and in the name of the engine 2"):
        merged({"threads": 2}, {"threads": 3})


@pytest.mark.parametrize(
    "engine",
    ["onnxruntime-cpu:low_memory=true,threads=1", OnnxRuntimeCpu(threads=1, low_memory=True)],
)
def test_a_decoder_opens_an_engine_with_its_options(
    artifact_folder: Path, engine: str | OnnxRuntimeCpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[dict[str, object]] = []

    def open_cpu(artifact: Artifact, **options: object) -> FakeEngine:
        opened.append(options)
        return FakeEngine(artifact.manifest)

    monkeypatch.setattr("dawn_runtime.engine.ort.cpu.open_cpu", open_cpu)
    Decoder.open(artifact_folder, engine=engine).close()
    assert opened == [{"threads": 1, "low_memory": True}]
    with pytest.raises(OptionError, match="threads"):
        Decoder.open(artifact_folder, engine=engine, threads=2)
