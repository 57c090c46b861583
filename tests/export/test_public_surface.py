"""The public names change on purpose only."""

import dawn_export


def test_the_public_names_are_these() -> None:
    assert dawn_export.__all__ == [
        "ALIASES",
        "Alias",
        "Difference",
        "EndToEnd",
        "ExportError",
        "ExportOptions",
        "ExportReport",
        "OutputError",
        "PushError",
        "Pushed",
        "SourceError",
        "ValueCheck",
        "Verification",
        "VerificationError",
        "export",
        "push",
    ]
    for name in dawn_export.__all__:
        assert getattr(dawn_export, name).__doc__
