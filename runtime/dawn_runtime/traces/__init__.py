"""Traces: what every step of an answer did and why, as JSON and as one page that opens offline.

document.py  the JSON; docs/traces.md describes every field
page.py      the same inside `page.html`, which needs nothing else
"""

from dawn_runtime.traces.document import FORMAT, VERSION, StepTeller, trace_document
from dawn_runtime.traces.page import as_json, as_page

__all__ = ["FORMAT", "VERSION", "StepTeller", "as_json", "as_page", "trace_document"]
