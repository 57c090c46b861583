"""What an artifact holds for text beside its graph: the tokenizer and the chat template."""

from dawn_runtime.artifact import Artifact
from dawn_runtime.chat import ChatTemplate
from dawn_runtime.tokenizer import Tokenizer


def open_companions(
    artifact: Artifact, *, literal: bool = False
) -> tuple[Tokenizer | None, ChatTemplate | None]:
    """Opens the files for text; None for each that the artifact does without.

    Args:
        artifact: The folder.
        literal: As for `Tokenizer.from_artifact`.

    Raises:
        ArtifactError: One of them is malformed.
        DependencyError: A package that reads them is not installed.
    """
    return Tokenizer.from_artifact(artifact, literal=literal), ChatTemplate.from_artifact(artifact)
