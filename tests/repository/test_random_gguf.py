"""The command that writes a random model for llama.cpp with the words of a checkpoint."""

import json
import shutil
import sys
from pathlib import Path

import pytest

import random_gguf
from dawn_models import read_config
from gguf_tokenizer import tokenizer_metadata
from support.gguf import parsed

TINY = Path(__file__).parents[2] / "models" / "tiny-dream"


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["random_gguf", *map(str, words)])
    return random_gguf.main()


def test_the_file_has_the_words_of_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "random.gguf"
    assert run(monkeypatch, TINY, "--output", file) == 0
    assert json.loads(capsys.readouterr().out)["bytes"] == file.stat().st_size
    said, tensors, _ = parsed(file.read_bytes())
    assert (said["general.architecture"], said["tokenizer.ggml.model"]) == ("dream", "gpt2")
    tokens, kinds = said["tokenizer.ggml.tokens"], said["tokenizer.ggml.token_type"]
    assert len(tokens) == len(kinds) == tensors["token_embd.weight"][0][1] == 1024
    assert (tokens[0], tokens[1019], tokens[1023]) == ("!", "Ġstep", "<|mask|>")
    assert (kinds[0], kinds[1023]) == (1, 3)
    assert said["tokenizer.ggml.merges"][0].count(" ") == 1
    assert said["tokenizer.ggml.mask_token_id"] == 1023
    assert said["tokenizer.ggml.add_bos_token"] is False
    assert "<|im_start|>" in said["tokenizer.chat_template"]


def test_ids_that_the_tokenizer_does_not_know_are_unused() -> None:
    said = tokenizer_metadata(TINY, 1030)
    assert said["tokenizer.ggml.tokens"][1024:] == [f"[PAD{n}]" for n in range(1024, 1030)]
    assert said["tokenizer.ggml.token_type"][1023:] == [3] + [5] * 6


def spoil(folder: Path, splitter: str) -> None:
    """Gives a tokenizer another way to split words."""
    document = json.loads((folder / "tokenizer.json").read_text())
    document["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = splitter
    (folder / "tokenizer.json").write_text(json.dumps(document))


def test_what_llama_cpp_would_read_otherwise_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, file = tmp_path / "model", tmp_path / "random.gguf"
    shutil.copytree(TINY, folder)
    spoil(folder, r"\s+")
    assert run(monkeypatch, folder, "--output", file) == 2
    assert "is not in Qwen2's manner" in capsys.readouterr().err
    (folder / "tokenizer.json").unlink()
    assert run(monkeypatch, folder, "--output", file) == 2
    assert "give a checkpoint with a tokenizer.json" in capsys.readouterr().err
    assert run(monkeypatch, TINY.with_name("tiny-llada"), "--output", file) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not file.exists()
    file.touch()
    assert run(monkeypatch, TINY, "--output", file) == 2
    assert "exists; name a new file" in capsys.readouterr().err


def test_a_family_that_llama_cpp_decodes_otherwise_is_refused() -> None:
    _, config = read_config(TINY.with_name("tiny-llada"))
    with pytest.raises(random_gguf.OptionError, match="llada: no file for llama"):
        random_gguf.diffusion_architecture(config)
