"""Renders chat templates in a process of its own; `dawn_runtime.rendering` starts it.

Templates come with checkpoints: they are foreign programs, and a line of one can ask for any amount
of time and memory, already while it is compiled. Here the kernel bounds both, so nothing that a
template can do has to be foreseen. This file runs alone and imports nothing of this package, which
would load NumPy.

Standard input brings frames, standard output takes them: eight bytes of length, then JSON. The
first one holds `path`, where modules are found, and the limits; each that follows asks for a
rendering and gets `text`, or `error`: the name of a class and what it says.
"""

import json
import resource
import signal
import sys
from datetime import datetime
from typing import Any, NoReturn

_HEADER = 8
_COMPILED = 8
"""Templates that are kept compiled."""
_LONGEST_REASON = 300


def main() -> None:
    """Answers requests until there are no more of them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who asked hears of it
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
    setup = _receive()
    sys.path[:] = setup["path"]
    import jinja2.sandbox  # noqa: F401  # before memory is scarce

    _limit(resource.RLIMIT_AS, setup["memory"])
    _limit(resource.RLIMIT_CORE, 0)
    templates: dict[str, Any] = {}
    while request := _receive_within_bounds():
        signal.setitimer(signal.ITIMER_PROF, setup["seconds"])
        answer = _answer(request, templates, setup["characters"])
        signal.setitimer(signal.ITIMER_PROF, 0)
        _send(answer)


def _limit(kind: int, amount: int) -> None:
    _, hard = resource.getrlimit(kind)
    soft = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
    resource.setrlimit(kind, (soft, hard))


def _answer(request: dict[str, Any], templates: dict[str, Any], most: int) -> dict[str, Any]:
    try:
        source = request["source"]
        if source not in templates:
            if len(templates) >= _COMPILED:
                templates.clear()
            templates[source] = environment().from_string(source)
        text = templates[source].render(_variables(request["variables"]))
    except Exception as error:
        return {"error": [type(error).__name__, _reason(error), _is_refusal(error)]}
    if len(text) > most:
        return {"error": ["OverflowError", f"the prompt has more than {most} characters", False]}
    return {"text": text}


def _reason(error: Exception) -> str:
    try:
        return " ".join(str(error)[: 2 * _LONGEST_REASON].split())[:_LONGEST_REASON]
    except Exception:  # an error whose own text fails
        return ""


def _is_refusal(error: Exception) -> bool:
    """Tells errors whose text says enough: those of templates, and wrong types of what they got."""
    import jinja2

    return isinstance(error, (jinja2.TemplateError, TypeError))


class _Unprintable:
    """Content that is no text; a template that takes it for one would print Python's spelling."""

    def __str__(self) -> str:
        raise TypeError("the template takes texts as content, and this is a list or an object")


class _Parts(_Unprintable, list):  # type: ignore[type-arg]
    """Content in parts."""


class _Fields(_Unprintable, dict):  # type: ignore[type-arg]
    """Content as an object."""


def _variables(given: dict[str, Any]) -> dict[str, Any]:
    """Makes content that is no text refuse to be printed as if it were one."""
    kinds: dict[type, type[Any]] = {list: _Parts, dict: _Fields}
    messages = [dict(message) for message in given["messages"]]
    for message in messages:
        kind = kinds.get(type(message.get("content")))
        if kind is not None:
            message["content"] = kind(message["content"])
    return {**given, "messages": messages}


def environment() -> Any:
    """Returns the sandbox with the settings, tags and functions that templates count on."""
    import jinja2
    import jinja2.ext
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        """`{% generation %}` marks the assistant's words for training; here they are just text."""

        tags = {"generation"}  # noqa: RUF012  # Jinja declares it

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            # A scope of its own, as for training: what is set inside ends there.
            call = self.call_method("_through")
            return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(line)

        def _through(self, caller: Any) -> Any:
            return caller()

    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )

    def raise_exception(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    made.filters["tojson"] = _to_json
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = _strftime_now
    return made


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """The `tojson` filter without Jinja's escaping for HTML."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _strftime_now(form: str) -> str:
    """The local date and time, spelled as `strftime` does."""
    return datetime.now().strftime(form)


def _receive() -> dict[str, Any]:
    """Reads a frame; at the end of input there is none, and an empty one is returned."""
    header = sys.stdin.buffer.read(_HEADER)
    if len(header) < _HEADER:
        return {}
    frame: dict[str, Any] = json.loads(sys.stdin.buffer.read(int.from_bytes(header, "little")))
    return frame


def _receive_within_bounds() -> dict[str, Any]:
    """Reads a request; one that is too large for this process is answered and ends it."""
    try:
        return _receive()
    except Exception as error:
        _send({"error": [type(error).__name__, _reason(error), False]})
        return {}


def _send(document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()
    sys.stdout.buffer.write(len(body).to_bytes(_HEADER, "little") + body)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
