"""The part of the manifest that says how to decode, and where that choice comes from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Final

from dawn_runtime._fields import Fields

MAX_LENGTH: Final = 2**24
"""Longest block or answer that a manifest may set, in tokens; far above those of any model."""

DECODING_FILE: Final = "dawn_decoding.json"
"""A `DefaultRule` beside a checkpoint; an export takes it over in place of the published rule."""

OptionValue = float | int | str | bool
"""Value of one policy option as JSON carries it."""


@dataclass(frozen=True, slots=True)
class Score:
    """How a rule did on some prompts; means over the answers.

    Attributes:
        quality: Share of right answers, or of tokens that agree with one token per step, 0 to 1.
        forwards: Runs of the engine.
        rows: Positions fed in them.
        milliseconds: Wall time, that of a batch shared by its answers.
    """

    quality: float
    forwards: float
    rows: float
    milliseconds: float

    @classmethod
    def read(cls, fields: Fields) -> "Score":
        """Reads the record; raises `ArtifactError` at a wrong field."""
        names = tuple(cls.__dataclass_fields__)
        fields.only(*names)
        return cls(**{name: fields.number(name) for name in names})


@dataclass(frozen=True, slots=True)
class Measured:
    """Where the choice of a default comes from, for people to read.

    Attributes:
        prompts: What was asked; none of it had a part in the choice of the rule's options.
        items: How many prompts.
        quality: What the quality of a score is: right answers, or agreement.
        criterion: By what the rule was chosen.
        engine: What ran the model, and at which precision.
        chosen: What came of the rule.
        one_per_step: What came of one token per step on the same prompts.
    """

    prompts: str
    items: int
    quality: str
    criterion: str
    engine: str
    chosen: Score
    one_per_step: Score

    @classmethod
    def read(cls, fields: Fields) -> "Measured":
        """Reads the record; raises `ArtifactError` at a wrong field."""
        fields.only(*cls.__dataclass_fields__)
        return cls(
            prompts=fields.text("prompts"),
            items=fields.integer("items", 1),
            quality=fields.text("quality"),
            criterion=fields.text("criterion"),
            engine=fields.text("engine"),
            chosen=Score.read(fields.nested("chosen")),
            one_per_step=Score.read(fields.nested("one_per_step")),
        )

    def line(self) -> str:
        """Returns the record for people."""
        chosen, careful = self.chosen, self.one_per_step
        return (
            f"{100 * chosen.quality:.1f} % {self.quality} in {chosen.forwards:.2f} forwards, "
            f"{100 * careful.quality:.1f} in {careful.forwards:.2f} one token per step "
            f"({self.items} prompts, {self.prompts}; {self.criterion}; {self.engine})"
        )


@dataclass(frozen=True, slots=True)
class DefaultRule:
    """How an artifact is decoded where the caller does not say.

    Attributes:
        policy: Name of a registered policy or scheme.
        options: Its options; read-only by convention.
        window: With options or without, as in a setting; None is what goes with the policy.
        cache: The same.
        guard: Guards of a policy, likewise.
        measured: Where the choice comes from; None if nothing was measured.
    """

    policy: str
    options: Mapping[str, OptionValue]
    window: str | None = None
    cache: str | None = None
    guard: tuple[str, ...] = ()
    measured: Measured | None = None

    def to_dict(self) -> dict[str, object]:
        """Returns the record as JSON carries it, without what is not there."""
        parts = {
            "window": self.window,
            "cache": self.cache,
            "guard": list(self.guard),
            "measured": None if self.measured is None else asdict(self.measured),
        }
        there = {name: value for name, value in parts.items() if value}
        return {"policy": self.policy, "options": dict(self.options), **there}

    @classmethod
    def read(cls, fields: Fields, *others: str) -> "DefaultRule":
        """Reads the record; raises `ArtifactError` at a wrong field.

        Args:
            fields: Where it is.
            *others: Fields beside it that are none of its own.
        """
        fields.only(*cls.__dataclass_fields__, *others)
        options, there = fields.nested("options"), fields.values
        guards = fields.entries("guard") if "guard" in there else None
        return cls(
            policy=fields.text("policy"),
            options={name: options.option(name) for name in options.values},
            window=fields.text("window") if "window" in there else None,
            cache=fields.text("cache") if "cache" in there else None,
            guard=() if guards is None else tuple(map(guards.text, guards.values)),
            measured=Measured.read(fields.nested("measured")) if "measured" in there else None,
        )


_LENGTHS: Final = ("block_length", "fallback_length", "max_new_tokens")


@dataclass(frozen=True, slots=True)
class DecodingDefaults:
    """How to decode when the caller does not say.

    Attributes:
        policy: As in `DefaultRule`.
        options: The same.
        block_length: Tokens in a block of the semi-autoregressive window.
        fallback_length: Below this many new tokens a policy that builds a dependency graph hands
            over to its plain threshold rule.
        max_new_tokens: Most positions to decode, where the context has room for them.
        published: The rule published for the family, or that the artifact was exported with, kept
            while another one stands in its place; None if it is that. Who names its policy gets
            its options.
        window: As in `DefaultRule`, and so the others.
        cache: The same.
        guard: The same.
        measured: The same.
    """

    policy: str
    options: Mapping[str, OptionValue]
    block_length: int = 32
    fallback_length: int = 32
    max_new_tokens: int = 256
    published: DefaultRule | None = None
    window: str | None = None
    cache: str | None = None
    guard: tuple[str, ...] = ()
    measured: Measured | None = None

    @property
    def rule(self) -> DefaultRule:
        """How to decode, the lengths apart."""
        return DefaultRule(**{name: getattr(self, name) for name in DefaultRule.__slots__})

    def with_rule(self, rule: DefaultRule, published: DefaultRule | None) -> "DecodingDefaults":
        """Returns the defaults with another rule.

        Args:
            rule: The rule.
            published: As in the attribute.
        """
        parts = {name: getattr(rule, name) for name in DefaultRule.__slots__}
        return replace(self, published=published, **parts)

    def to_dict(self) -> dict[str, object]:
        """Returns the record as JSON carries it; `published` only if there is one."""
        lengths = {name: getattr(self, name) for name in _LENGTHS}
        published = {} if self.published is None else {"published": self.published.to_dict()}
        return {**self.rule.to_dict(), **lengths, **published}

    @classmethod
    def read(cls, fields: Fields) -> "DecodingDefaults":
        """Reads the record; raises `ArtifactError` at a wrong field."""
        rule, published = DefaultRule.read(fields, *_LENGTHS, "published"), None
        if "published" in fields.values:
            published = DefaultRule.read(fields.nested("published"))
        lengths = cls(
            *(rule.policy, rule.options),
            block_length=fields.integer("block_length", 1, MAX_LENGTH),
            fallback_length=fields.integer("fallback_length", 0, MAX_LENGTH),
            max_new_tokens=fields.integer("max_new_tokens", 1, MAX_LENGTH),
        )
        return lengths.with_rule(rule, published)
