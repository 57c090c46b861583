"""What `dawn-doctor` looks at: one module for each subject.

A module reads its facts in one function and judges them in another, which takes them as arguments;
`examine` puts all of them together. Whatever may crash or hang, the libraries of ONNX Runtime and
CUDA, is loaded in a process of its own.
"""

from dawn_runtime.doctor.examination import examine
from dawn_runtime.doctor.finding import Finding, table

__all__ = ["Finding", "examine", "table"]
