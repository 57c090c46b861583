"""Checkpoints that are broken or mean harm: each is a sound one of two layers, spoiled in one way.

`CASES` maps a name to what spoils the folder and to what the one error must say.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from support.spoiling import (
    FIRST_SHARD,
    INDEX,
    NORM,
    QUERY,
    SECOND_SHARD,
    WEIGHTS,
    Spoil,
    as_pickle,
    circle,
    config,
    config_text,
    entry,
    header,
    instead,
    moved_out,
    parts,
    raw,
    repeat_in_index,
    repeat_name,
    retype,
    shard_named,
    shift,
    tensor,
    text,
    value,
    weight_map,
    write_raw,
)

BAD_WEIGHTS = r"model\.safetensors: not readable as safetensors: "
BAD_CONFIG = r"/config\.json: not readable as JSON: "


@dataclass(frozen=True)
class Case:
    """A way to spoil a checkpoint.

    Attributes:
        spoil: changes the folder.
        message: regular expression that the error must match.
        sharded: whether the sound checkpoint is in two shards with an index.
    """

    spoil: Spoil
    message: str
    sharded: bool = False


BIG = b'{"a": [' + b"[],[]," * (10 * 2**20 // 6) + b"0]}"
"""10 MB of JSON that takes ten times as much in memory."""

BOMB = b'{"a":' + b"[" * 500_000 + b"]" * 500_000 + b"}"

CASES: dict[str, Case] = {
    # The length of the header
    "empty file": Case(text(WEIGHTS, b""), BAD_WEIGHTS),
    "length cut off": Case(text(WEIGHTS, b"\x08\x00\x00"), BAD_WEIGHTS),
    "length zero": Case(raw(b"", 0), BAD_WEIGHTS),
    "length beyond the file": Case(raw(b"{}", 10**6), BAD_WEIGHTS + "a header of 1000000 bytes"),
    "length 2^63": Case(raw(b"{}", 2**63), BAD_WEIGHTS + "a header of 9223372036854775808 bytes"),
    "length 2^64 - 1": Case(raw(b"{}", 2**64 - 1), BAD_WEIGHTS + "a header of"),
    "10 MB of header": Case(raw(BIG), BAD_WEIGHTS + r"a header of \d+ bytes, at most 4194304"),
    # The header
    "header is no JSON": Case(raw(b"not json"), BAD_WEIGHTS),
    "header is a list": Case(raw(b"[]"), BAD_WEIGHTS + r"got \[\], expected a JSON object"),
    "header is not UTF-8": Case(raw(b'{"\xff": 1}'), BAD_WEIGHTS + "'utf-8' codec"),
    "header nests deeply": Case(raw(BOMB), BAD_WEIGHTS + "it is nested too deeply"),
    "tensor named twice": Case(repeat_name, BAD_WEIGHTS + f"field '{NORM}' appears twice"),
    "entry is no object": Case(header(lambda e: e.update({NORM: 3})), BAD_WEIGHTS),
    "entry without offsets": Case(header(lambda e: e[NORM].pop("data_offsets")), BAD_WEIGHTS),
    # Places and sizes
    "negative offset": Case(entry(data_offsets=[-8, 0]), BAD_WEIGHTS),
    "offsets overlap": Case(shift(-2), BAD_WEIGHTS),
    "offsets leave a hole": Case(shift(2), BAD_WEIGHTS),
    "offsets run backwards": Case(entry(data_offsets=[32, 0]), BAD_WEIGHTS),
    "offsets beyond the file": Case(entry(data_offsets=[10**9, 10**9 + 32]), BAD_WEIGHTS),
    "offset 2^64": Case(entry(data_offsets=[0, 2**64]), BAD_WEIGHTS),
    "values cut off": Case(
        lambda f: write_raw(f, json.dumps(parts(f)[0]).encode(), parts(f)[1][:-7]), BAD_WEIGHTS
    ),
    "values too many": Case(
        lambda f: write_raw(f, json.dumps(parts(f)[0]).encode(), parts(f)[1] + b"x"), BAD_WEIGHTS
    ),
    "shape does not fit the size": Case(entry(shape=[15]), BAD_WEIGHTS),
    "shape of 2^40": Case(entry(shape=[2**40]), BAD_WEIGHTS),
    "shape whose product overflows": Case(entry(shape=[2**33, 2**33]), BAD_WEIGHTS),
    "negative shape": Case(entry(shape=[-16]), BAD_WEIGHTS),
    "shape turned around": Case(
        tensor(lambda t: t.update({QUERY: torch.zeros(8, 32)})),
        rf"tensor '{QUERY}' has shape \[8, 32\], config.json asks for \[16, 16\]",
    ),
    # Types and values
    "unknown type": Case(entry(dtype="F99"), BAD_WEIGHTS),
    "type I8": Case(retype(torch.int8), f"'{NORM}' is I8, expected one of F32, F16, BF16"),
    "type F64": Case(retype(torch.float64), f"'{NORM}' is F64, expected one of"),
    "type F8": Case(retype(torch.float8_e4m3fn), f"'{NORM}' is F8_E4M3, expected one of"),
    "NaN in a weight": Case(
        value(float("nan")), r"layers\.0\.q_proj\.weight, .*: 1 of 512 values are NaN"
    ),
    "infinity in a weight": Case(value(float("inf")), r"layers\.0\.q_proj\.weight, .*: 1 of 512"),
    "tensor missing": Case(tensor(lambda t: t.pop(NORM)), f"tensor '{NORM}' is missing"),
    "tensor nobody asked for": Case(
        tensor(lambda t: t.update({"x" * 5000: torch.zeros(1)})), r"unexpected tensor 'x{90,100}"
    ),
    # What is no safetensors
    "pickle alone": Case(as_pickle("pytorch_model.bin"), "only safetensors are read"),
    "torch zip under the name": Case(as_pickle(WEIGHTS), BAD_WEIGHTS),
    "folder as weights": Case(instead(WEIGHTS, Path.mkdir), f"shard '{WEIGHTS}' is not in"),
    "pipe as weights": Case(instead(WEIGHTS, os.mkfifo), f"shard '{WEIGHTS}' is not in"),
    "weights link to nothing": Case(
        instead(WEIGHTS, lambda p: p.symlink_to("gone")), f"shard '{WEIGHTS}' is not in"
    ),
    "weights link in a circle": Case(instead(WEIGHTS, circle), f"shard '{WEIGHTS}' is not in"),
    "weights link out of the folder": Case(moved_out(WEIGHTS), "outside its folder; copy the file"),
    # The index
    "index leads upwards": Case(
        shard_named("../outside.safetensors"), "is not the name of a .safetensors file", True
    ),
    "index has an absolute path": Case(
        shard_named("/etc/x.safetensors"), "is not the name of a .safetensors file", True
    ),
    "index names another kind of file": Case(
        shard_named("config.json"), "is not the name of a .safetensors file", True
    ),
    "index with a zero byte": Case(shard_named("a\0b.safetensors"), "is not in", True),
    "index names a missing shard": Case(shard_named("b.safetensors"), "is not in", True),
    "index names the wrong shard": Case(
        shard_named(SECOND_SHARD),
        rf"index\.json: field 'weight_map': .* is not in '{SECOND_SHARD}'",
        True,
    ),
    "index has a tensor twice": Case(repeat_in_index, f"field '{NORM}' appears twice", True),
    "index maps to numbers": Case(weight_map({NORM: 1}), "field 'weight_map': got", True),
    "index is empty": Case(weight_map({}), "is missing", True),
    "10 MB of index": Case(text(INDEX, BIG), r"index\.json: \d+ bytes of JSON, at most", True),
    "shard links out of the folder": Case(moved_out(FIRST_SHARD), "outside its folder", True),
    "folder as shard": Case(instead(FIRST_SHARD, Path.mkdir), "is not in", True),
    "tensor in two shards": Case(
        lambda f: shutil.copy(f / FIRST_SHARD, f / SECOND_SHARD),
        "is also in",
        True,
    ),
    # config.json as a file
    "no config": Case(instead("config.json", lambda _: None), r"config\.json: file not found"),
    "config is empty": Case(text("config.json", ""), BAD_CONFIG),
    "config is a list": Case(text("config.json", "[1]"), BAD_CONFIG + r"got \[1\], expected"),
    "config with a byte order mark": Case(
        text("config.json", b"\xef\xbb\xbf{}"), BAD_CONFIG + "Unexpected UTF-8 BOM|" + BAD_CONFIG
    ),
    "config in UTF-16": Case(text("config.json", "{}".encode("utf-16")), BAD_CONFIG + "'utf-8'"),
    "10 MB of config": Case(text("config.json", BIG), r"config\.json: \d+ bytes of JSON, at most"),
    "config nests deeply": Case(
        text("config.json", BOMB[:400_000] + BOMB[-400_000:]), BAD_CONFIG + "it is nested too deep"
    ),
    "config has a field twice": Case(
        config_text('"vocab_size": 40', '"vocab_size": 40, "vocab_size": 41'),
        BAD_CONFIG + "field 'vocab_size' appears twice",
    ),
    "config has NaN": Case(
        config(rms_norm_eps=float("nan")), BAD_CONFIG + "got NaN, expected finite numbers"
    ),
    "config has infinity in a list": Case(
        config(eos_token_id=[38, float("-inf")]),
        BAD_CONFIG + "got -Infinity, expected finite numbers",
    ),
    "config has 1e999": Case(
        config_text('"rope_theta": 10000.0', '"rope_theta": 1e999'),
        BAD_CONFIG + "got 1e999, expected finite numbers",
    ),
    "config has a number of 5000 digits": Case(
        config_text('"rope_theta": 10000.0', f'"rope_theta": {"9" * 5000}'), r"config\.json: "
    ),
    "config is a pipe": Case(instead("config.json", os.mkfifo), BAD_CONFIG + "is not a regular"),
    "config is a folder": Case(instead("config.json", Path.mkdir), BAD_CONFIG + "is not a regular"),
    "config links in a circle": Case(
        instead("config.json", circle), BAD_CONFIG + "Too many levels"
    ),
    "config links out of the folder": Case(moved_out("config.json"), "outside its folder"),
    "generation config is no JSON": Case(
        text("generation_config.json", "{"), r"generation_config\.json: not readable as JSON"
    ),
    "generation config links to nothing": Case(
        instead("generation_config.json", lambda p: p.symlink_to("gone")),
        r"generation_config\.json: file not found",
    ),
    # Fields of config.json
    "unknown family": Case(config(model_type="gpt2"), "field 'model_type': got \"gpt2\""),
    "family is a list": Case(config(model_type=["Dream"]), "field 'model_type': got"),
    "field missing": Case(config(hidden_size=...), "field 'hidden_size': got nothing"),
    "field is a text": Case(config(hidden_size="16"), "field 'hidden_size': got \"16\""),
    "field is a fraction": Case(config(vocab_size=40.5), "field 'vocab_size': got 40.5"),
    "field is true": Case(config(num_hidden_layers=True), "field 'num_hidden_layers': got true"),
    "size zero": Case(config(intermediate_size=0), "field 'intermediate_size': got 0"),
    "size negative": Case(config(num_hidden_layers=-1), "field 'num_hidden_layers': got -1"),
    "vocabulary zero": Case(config(vocab_size=0), "field 'vocab_size': got 0"),
    "vocabulary of 2^40": Case(
        config(vocab_size=2**40), "field 'vocab_size': .* at most 2147483647"
    ),
    "a billion layers": Case(
        config(num_hidden_layers=10**9), "field 'num_hidden_layers': .* at most 1024"
    ),
    "number beyond floats": Case(
        config(rope_theta=10**400), "field 'rope_theta': got 10+\\.\\.\\., expected a finite"
    ),
    "heads do not divide the width": Case(
        config(num_attention_heads=3), "field 'hidden_size': got 16, expected a multiple"
    ),
    "key heads do not divide heads": Case(
        config(num_key_value_heads=3), "3 key/value heads do not divide 4 query heads"
    ),
    "mask outside the vocabulary": Case(
        config(mask_token_id=40), "token id 40 of mask, eos or pad"
    ),
    # The tokenizer
    "tokenizer is no JSON": Case(text("tokenizer.json", "{"), r"tokenizer\.json: "),
    "tokenizer is a list": Case(text("tokenizer.json", "[]"), r"tokenizer\.json: "),
}
