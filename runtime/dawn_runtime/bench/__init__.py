"""Timing answers: cases in turn on the same prompts, what the machine did meanwhile, and reports.

plan.py         the cases that flags ask for, checked before an engine is opened
prompts.py      real prompts: shipped, of a file, of tasks; random tokens where they are asked for
measuring.py    one case once, step by step
turns.py        all cases in turn, and what their turns come to
statistics.py   intervals, quantiles and the order of turns; `scripts` that time in turns share them
record.py       what was measured, as JSON and back
report.py       tables for people, Markdown and CSV
drawing.py      the picture
pages.py        sections of a page that are written by stored results
comparison.py   two results beside each other
"""
