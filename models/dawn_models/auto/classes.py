"""Classes of transformers around our transformer, one pair for each ``model_type``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import torch
from huggingface_hub import snapshot_download
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone uses
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, PreTrainedModel
from transformers.conversion_mapping import register_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.modeling_outputs import MaskedLMOutput
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from dawn_models.auto.configuration import OF_LLADA, DawnConfig, arguments_for_flags
from dawn_models.auto.masks import positions, seen
from dawn_models.auto.names import MODULE, renamings
from dawn_models.checkpoint import Checkpoint
from dawn_models.families import FAMILIES
from dawn_models.families.family import Family
from dawn_models.families.told import Told
from dawn_models.transformer import Transformer

_OF_THE_HUB = ("cache_dir", "force_download", "local_files_only", "revision", "token")
_FILES = ("*.json", "*.safetensors", "merges.txt")
"""What `Checkpoint.open` reads; no pickle, no code."""


class DawnModel(PreTrainedModel):
    """A masked-diffusion language model: logits of every row, and a loss where there are labels.

    Made by `AutoModel` and `AutoModelForMaskedLM` after `dawn_models.register`. Its parameters
    have the checkpoint's names on disk, and those of our transformer in memory.

    Args:
        config: one of our configurations.
    """

    config_class = DawnConfig
    base_model_prefix = ""
    _tied_weights_keys: ClassVar[dict[str, str]] = {
        f"{MODULE}.head.weight": f"{MODULE}.embedding.weight"
    }
    _keys_to_ignore_on_load_unexpected: ClassVar[list[str]] = [r"rotary_emb\.inv_freq"]
    _no_split_modules: ClassVar[list[str]] = ["Layer"]
    _supports_sdpa = True

    def __init__(self, config: DawnConfig) -> None:
        super().__init__(config)
        self.transformer = Transformer(config.parsed())
        self.register_load_state_dict_pre_hook(_by_our_names)
        self.post_init()

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], *args: Any, **kwargs: Any) -> Any:
        """Load a checkpoint, every name and shape of its tensors checked before.

        transformers fills what is missing with random numbers and goes on.

        Args:
            name: a checkpoint's folder, or its id on the Hub.
            *args: as transformers takes them.
            **kwargs: as transformers takes them; `config` among them.

        Raises:
            ConfigError: config.json is malformed, of another model, or leaves something open.
            WeightsError: a tensor is missing, unexpected, mis-shaped or unsafe.
        """
        folder = _folder_of(name, kwargs)
        config = kwargs.pop("config", None)
        if config is None:
            config, kwargs = cls.config_class.from_pretrained(
                folder, return_unused_kwargs=True, **kwargs
            )
        with arguments_for_flags():
            checkpoint = Checkpoint.open(folder, _told(config))
        checkpoint.check_head()
        config.settle(checkpoint)
        return super().from_pretrained(folder, *args, config=config, **kwargs)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        labels: Tensor | None = None,
        return_dict: bool | None = None,
    ) -> MaskedLMOutput | tuple[Tensor, ...]:
        """Logits [B, S, V]; row i predicts token i, or token i + 1 in families that shift.

        Args:
            input_ids: int64 [B, S], masks among them.
            attention_mask: [B, S], 0 where there is padding, with what the family sees; or bool
                [B or 1, 1, S, S], True where a row may look, in place of it.
            position_ids: int64 [B, S]; None counts tokens, padding left out.
            labels: int64 [B, S], the token of every position the loss is wanted of, -100 elsewhere.
                The loss is the mean of the negative logarithms of their probabilities.
            return_dict: whether an object is returned; None is as the configuration says.

        Raises:
            ValueError: the mask has other dimensions, or the family needs one and there is none.
        """
        padding = (
            attention_mask if attention_mask is not None and attention_mask.dim() == 2 else None
        )
        if position_ids is None:
            position_ids = positions(input_ids, padding)
        if attention_mask is None or padding is not None:
            attention_mask = seen(self.transformer.config, position_ids, padding)
        elif attention_mask.dim() != 4 or attention_mask.dtype != torch.bool:
            got = f"{attention_mask.dtype} {list(attention_mask.shape)}"
            raise ValueError(f"attention_mask: got {got}, expected [B, S], or bool [B, 1, S, S]")
        hidden = self.transformer.hidden(input_ids, attention_mask, position_ids)
        logits: Tensor = self.transformer.head(hidden)
        loss = None if labels is None else self._loss(logits, labels)
        if self.config.return_dict if return_dict is None else return_dict:
            return MaskedLMOutput(loss=loss, logits=logits)
        return (logits,) if loss is None else (loss, logits)

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        shift = self.transformer.config.shift
        rows = logits[:, : logits.shape[1] - shift].float()
        return F.cross_entropy(rows.flatten(0, 1), labels[:, shift:].flatten().to(rows.device))

    def get_input_embeddings(self) -> nn.Module:
        """The embedding."""
        return self.transformer.embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        """Replace the embedding."""
        self.transformer.embedding = value

    def get_output_embeddings(self) -> nn.Module:
        """The head."""
        return self.transformer.head

    def set_output_embeddings(self, value: nn.Linear) -> None:
        """Replace the head."""
        self.transformer.head = value


def _by_our_names(model: DawnModel, state_dict: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Renames what a file of a checkpoint holds: trainers load one into a model that is there.

    They do not insist on any name, and would go on with weights that were not loaded.
    """
    for parameter, name in model.config.family().tensor_names(model.transformer.config).items():
        if prefix + name in state_dict:
            state_dict[f"{prefix}{MODULE}.{parameter}"] = state_dict.pop(prefix + name)


def serve(model_type: str) -> bool:
    """Register the classes of a ``model_type``, unless it is somebody else's.

    Returns:
        Whether ours serve it.
    """
    name = _class_name(model_type)
    known = globals().get(name)
    if known is not None:
        return CONFIG_MAPPING[model_type] is known.config_class
    if model_type in CONFIG_MAPPING:
        return False
    attribute_map = OF_LLADA if model_type == "llada" else {}
    config = _made(f"{name}Config", DawnConfig, model_type=model_type, attribute_map=attribute_map)
    model = _made(name, DawnModel, config_class=config)
    AutoConfig.register(model_type, config)
    for auto in (AutoModel, AutoModelForMaskedLM):
        auto.register(config, model)
    register_checkpoint_conversion_mapping(
        name, [WeightRenaming(*pair) for pair in renamings(_one_of(model_type))]
    )
    return True


def _made(name: str, base: type, **attributes: Any) -> type:
    """A class of this module, by which pickles find it."""
    made = type(name, (base,), {"__module__": __name__, "__doc__": base.__doc__, **attributes})
    globals()[name] = made
    return made


def _class_name(model_type: str) -> str:
    return "Dawn" + "".join(filter(str.isalnum, model_type.title()))


def _one_of(model_type: str) -> Family:
    """A family of this type; where there are several, their tensors have the same names."""
    return next(family for family in FAMILIES.values() if model_type in family.types)


def _folder_of(name: str | os.PathLike[str], kwargs: dict[str, Any]) -> Path:
    """The checkpoint's folder, fetched where it is an id on the Hub; its options leave `kwargs`."""
    options = {key: kwargs.pop(key) for key in _OF_THE_HUB if key in kwargs}
    folder = Path(name)
    if not folder.is_dir():
        folder = Path(snapshot_download(str(name), allow_patterns=list(_FILES), **options))
    return folder / str(kwargs.pop("subfolder", ""))


def _told(config: DawnConfig) -> Told:
    """The user's word in a configuration."""
    field = config.family().block_field
    return Told(
        family=config.dawn_family,
        mask_token_id=config.mask_token_id,
        trained_block=None if field is None else getattr(config, field, None),
        no_draft_adapter=True if config.family().draft_folder else None,
    )
