"""Random generations on both engines of a GPU, over the stub driver, beside those of the CPU.

    python -m support.stub_generations ENGINE ARTIFACT --rounds 20 --seed 0

ENGINE is `onnxruntime` or `tensorrt`; the environment is that of `build_driver`. Prints a JSON
object: how many answers, which rounds differed, what no program may do, what was left at the end.
"""

import argparse
import gc
import json
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Artifact, Decoder, Engine, Result
from dawn_runtime.engine.device import DeviceEngine
from dawn_runtime.engine.ort.cpu import OrtEngine
from dawn_runtime.engine.ort.device import OrtDeviceEngine
from support.device_engine import HostMemory
from support.stub_driver import StubDriver

CACHES = ("none", "none", "dual", "prefix", "dual:refresh=3", "prefix:refresh=never")
WINDOWS = ("blocks", "single", "sliding", "pruned:near=3")
PICKY: dict[str, dict[str, float]] = {
    "dawn": {"tau_edge": 0.05, "tau_low": 0.2, "tau_high": 0.7, "tau_induce": 0.5},
    "threshold": {"threshold": 0.6},
    "one-per-step": {},
}


class LateSession:
    """A session of ONNX Runtime whose runs take place on a stream."""

    def __init__(self, session: Any, later: Callable[[Callable[[], None]], None]) -> None:
        self._session, self._later = session, later

    def io_binding(self) -> Any:
        return self._session.io_binding()

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        self._later(lambda: self._session.run_with_iobinding(binding))


@contextmanager
def onnxruntime(artifact: Artifact, stub: StubDriver) -> Iterator[DeviceEngine]:
    device = HostMemory()
    engine = OrtDeviceEngine(artifact.graph(), artifact.manifest, device, threads=1)
    engine._session = LateSession(engine._session, lambda work: stub.enqueue(device.stream, work))
    yield engine
    engine.close()


@contextmanager
def tensorrt(artifact: Artifact, stub: StubDriver) -> Iterator[DeviceEngine]:
    from dawn_export.tensorrt import EngineOptions
    from dawn_runtime.engine.tensorrt.engine import open_tensorrt
    from dawn_runtime.machine.driver import Cuda
    from support.tensorrt_machine import ORIN, FakeMachine, copied

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as place:
        machine, folder = FakeMachine(patch), copied(artifact.folder, Path(place) / "artifact")
        found = Cuda((13, 0), (ORIN,))
        patch.setattr("dawn_export.tensorrt.build.read_cuda", lambda: found)
        machine.build(folder, EngineOptions(max_length=64, block_length=8, batch=4, logits=True))
        engine = open_tensorrt(Artifact.open(folder))
        stream = engine.device.stream
        machine.world.enqueue = lambda work: stub.enqueue(stream, work)
        machine.world.recording = lambda: stub.capturing(stream)
        yield engine
        engine.close()


def random_settings(rng: np.random.Generator) -> dict[str, Any]:
    policy = str(rng.choice(list(PICKY)))
    window = str(rng.choice(WINDOWS))
    settings = {
        "policy": policy,
        "options": PICKY[policy],
        "max_new_tokens": int(rng.integers(1, 40)),
        "window": window,
        "cache": str(rng.choice(CACHES)),
        "stop_at_eos": bool(rng.random() < 0.5),
        "padding": str(rng.choice(["left", "right"])),
        "fallback_length": 0,
    }
    if window == "blocks":
        settings["block_length"] = int(rng.choice([4, 8, 16]))
    if rng.random() < 0.2:
        settings |= {"temperature": 0.7, "seed": int(rng.integers(0, 99))}
    return settings


def essence(result: Result) -> Any:
    commits = [(commit.step, commit.position, commit.token) for commit in result.trace]
    return commits, result.finish_reason


class Round:
    """One random request, answered by both engines in several ways."""

    def __init__(self, number: int, device: Decoder, host: Decoder, vocabulary: int) -> None:
        self.rng = rng = np.random.default_rng(number)
        self.device, self.host, self.answers = device, host, 0
        self.settings = random_settings(rng)
        rows = int(rng.integers(1, 5))
        self.prompts = [
            rng.integers(1, vocabulary - 8, int(rng.integers(1, 10))).tolist() for _ in range(rows)
        ]

    def batch(self) -> bool:
        found = self.device.generate_batch(self.prompts, **self.settings)
        self.answers += len(found)
        return list(map(essence, found)) == self._expected()

    def streams(self) -> bool:
        """Two answers at a time, step by step, and one that is given up on the way."""
        next(iter(self.device.watch(input_ids=self.prompts[0], **self.settings)), None)
        streams = [self.device.watch(input_ids=p, **self.settings) for p in self.prompts]
        under_way = list(streams)
        while under_way:
            under_way = [stream for stream in under_way if next(stream, None) is not None]
        self.answers += len(streams)
        return [essence(stream.result) for stream in streams] == self._expected(alone=True)

    def threads(self) -> bool:
        """An answer in each of several threads."""
        found: dict[int, Any] = {}

        def answer(number: int) -> None:
            ids = self.prompts[number]
            found[number] = essence(self.device.generate(input_ids=ids, **self.settings))

        threads = [threading.Thread(target=answer, args=(n,)) for n in range(len(self.prompts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.answers += len(threads)
        return [found.get(n) for n in range(len(threads))] == self._expected(alone=True)

    def _expected(self, *, alone: bool = False) -> list[Any]:
        if not alone:
            return list(map(essence, self.host.generate_batch(self.prompts, **self.settings)))
        return [essence(self.host.generate(input_ids=p, **self.settings)) for p in self.prompts]


def repeated(decoder: Decoder, stub: StubDriver) -> dict[str, list[int]]:
    """The same answer with kept keys, several times; what each took of the driver, by function."""
    names = ("cuMemAlloc_v2", "cuMemFree_v2", "cuMemAllocHost_v2", "cuGraphInstantiateWithFlags")
    taken: dict[str, list[int]] = {name: [] for name in names}
    for _ in range(6):
        before = {name: stub.calls(name) for name in names}
        decoder.generate(input_ids=[1, 2, 3], max_new_tokens=20, policy="dawn", cache="dual")
        for name in names:
            taken[name].append(stub.calls(name) - before[name])
    return taken


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=("onnxruntime", "tensorrt"))
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    stub, artifact = StubDriver(), Artifact.open(args.artifact)
    host: Engine = OrtEngine(artifact.graph(), artifact.manifest, threads=1)
    opened = onnxruntime if args.engine == "onnxruntime" else tensorrt
    differing, answers = [], 0
    with opened(artifact, stub) as engine:
        manifest = artifact.manifest
        decoders = Decoder(manifest, engine), Decoder(manifest, host)
        for number in range(args.seed, args.seed + args.rounds):
            one = Round(number, *decoders, manifest.dims.vocab_size)
            ways = (one.batch, one.streams, one.threads)
            if not ways[(0, 0, 0, 1, 2)[number % 5]]():
                differing.append([number, one.settings])
            answers += one.answers
        again = repeated(decoders[0], stub)
        del engine, one, ways, decoders
    gc.collect()
    report = {
        "rounds": args.rounds,
        "answers": answers,
        "differing": differing,
        "problems": stub.problems(),
        "left": stub.live(),
        "launches": stub.calls("cuLaunchKernel"),
        "graphs": stub.calls("cuGraphLaunch"),
        "again": again,
    }
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
