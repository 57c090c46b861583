"""Decodes prompts with the published torch code of DAWN, in a process of its own.

    PYTHON published_dawn.py < job.json

Nothing of it is in this repository, and PYTHON is one that has what that code needs. The job:
`code` (a clone of it), `family` (`dream` or `llada`), `checkpoint`, `threads`, `prompts` (lists of
ids), `new_tokens`, `block_length`, `mask`, `policy`. Its DAWN decodes, with the thresholds that its
functions have by default, as its scripts for evaluation have them where those are the same for all
tasks; with the policy `one-per-step` its threshold rule does, under a threshold that nothing
reaches, so that each run of the model decides the most confident token. Weights are in BF16.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Decode = Callable[[torch.Tensor], int]
"""Decodes an answer to ids [1, prompt] and returns how often the model ran."""

_UNREACHED = 2.0
"""A threshold above every confidence."""


def main() -> None:
    """Runs the model once to warm up, then decodes each prompt."""
    job = json.load(sys.stdin)
    torch.set_num_threads(job["threads"])
    sys.path.insert(0, str(Path(job["code"]) / job["family"]))
    with torch.no_grad():
        decode = {"dream": _dream, "llada": _llada}[job["family"]](job)
        for number, prompt in enumerate(job["prompts"]):
            print(json.dumps({"begin": number}), flush=True)
            started = time.perf_counter()
            forwards = decode(torch.tensor([prompt]))
            seconds = time.perf_counter() - started
            told = {"seconds": seconds, "tokens": job["new_tokens"], "forwards": forwards}
            print("\n" + json.dumps(told), flush=True)


def _loaded(model: Any, job: dict[str, Any]) -> Any:
    """The model on its device, after a first run on as many tokens as will be decoded."""
    loaded = model.from_pretrained(job["checkpoint"], torch_dtype=torch.bfloat16).eval()
    loaded = loaded.to("cuda" if torch.cuda.is_available() else "cpu")
    length = len(job["prompts"][0]) + job["new_tokens"]
    loaded(torch.full((1, length), job["mask"], device=loaded.device))
    return loaded


def _dream(job: dict[str, Any]) -> Decode:
    from model.modeling_dream import DreamModel

    model = _loaded(DreamModel, job)
    is_dawn = job["policy"] != "one-per-step"
    rule = {"alg": "dawn"} if is_dawn else {"alg": "confidence_threshold", "threshold": _UNREACHED}

    def decode(ids: torch.Tensor) -> int:
        ids = ids.to(model.device)
        _, forwards = model.diffusion_generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=job["new_tokens"],
            steps=job["new_tokens"] // job["block_length"],
            block_length=job["block_length"],
            temperature=0.0,
            **rule,
            mask_token_id=job["mask"],
            return_dict_in_generate=True,
        )
        return int(forwards)

    return decode


def _llada(job: dict[str, Any]) -> Decode:
    from generate import generate
    from model.modeling_llada import LLaDAModelLM

    model = _loaded(LLaDAModelLM, job)
    is_dawn = job["policy"] != "one-per-step"
    rule = {"dawn": True} if is_dawn else {"threshold": _UNREACHED}

    def decode(ids: torch.Tensor) -> int:
        _, forwards = generate(
            model,
            ids.to(model.device),
            steps=job["new_tokens"] // job["block_length"],
            gen_length=job["new_tokens"],
            block_length=job["block_length"],
            mask_id=job["mask"],
            **rule,
        )
        return int(forwards)

    return decode


if __name__ == "__main__":
    main()
