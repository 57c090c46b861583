"""Jobs: many prompts of a file, answered so that nothing is lost and nothing is done twice.

output.py    where answers go: a file that a later run goes on with, or a stream
record.py    one answer as one line, and the digest that tells what it answers
job.py       lines join an open batch, longest first, and leave it as they are done
progress.py  a bar on a terminal, a line now and then elsewhere
"""

from dawn_runtime.jobs.job import Job, JobTotals
from dawn_runtime.jobs.output import AnswerFile, AnswerStream, Output
from dawn_runtime.jobs.progress import Progress
from dawn_runtime.jobs.record import digests

__all__ = [
    "AnswerFile",
    "AnswerStream",
    "Job",
    "JobTotals",
    "Output",
    "Progress",
    "digests",
]
