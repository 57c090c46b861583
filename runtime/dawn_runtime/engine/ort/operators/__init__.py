"""An operator of our own for INT8 on the CPU: a library in C++, built on demand, never needed.

`dawn.RowsProduct` computes what the five to eight nodes of a product with rows rounded one by one
compute, to the last bit (`rows.h` says how), in less time: a third less at two threads.

======================  ==================================================================
build.py, library.py    the library for this processor, made by the compiler at hand; where it lies
rewriting.py            puts the operator into a graph as it is opened; files never hold it
rows.h, rows_*.cpp      the arithmetic, once for each kind of processor
operator.cpp, abi.h     what ONNX Runtime calls; what is used of its C API
======================  ==================================================================
"""

from typing import Final

from dawn_runtime.engine.canary import Canary
from dawn_runtime.engine.canary.integers import own_rows
from dawn_runtime.engine.ort.operators.library import built_library, library_path
from dawn_runtime.engine.ort.operators.rewriting import OPERATOR, with_rows_products

OWN_PRODUCTS: Final = Canary("own INT8 row by row", (OPERATOR,), own_rows, ("fp32",))
"""What a library is tried on before a graph runs with it."""

__all__ = ["OWN_PRODUCTS", "built_library", "library_path", "with_rows_products"]
