"""What the user says of a checkpoint where its files do not.

Some published checkpoints do not say in any file which of two models they are, which token is the
mask, or how long their blocks are. None of it is guessed: a wrong guess still gives fluent text.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Told:
    """The user's word; None where there is none.

    Attributes:
        family: name of the family that shall read the checkpoint.
        mask_token_id: the token that stands for "not yet known".
        trained_block: tokens in a block, of a model that was trained to see block by block.
        usual_block: the same, as a release is known to have it, for files that do not say.
        no_draft_adapter: whether an adapter for drafts beside the weights is left out.
    """

    family: str | None = None
    mask_token_id: int | None = None
    trained_block: int | None = None
    usual_block: int | None = None
    no_draft_adapter: bool | None = None

    def or_else(self, other: Told) -> Told:
        """This word where there is one, else the other."""
        said = {one.name: getattr(self, one.name) for one in fields(self)}
        return Told(
            **{name: getattr(other, name) if said[name] is None else said[name] for name in said}
        )


NOTHING = Told()
"""No word at all."""
