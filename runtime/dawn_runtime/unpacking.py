"""`Unpack`, which says that keyword arguments are those of a TypedDict; of `typing` since 3.11.

Imported in earnest, not for checkers alone, so that `typing.get_type_hints` knows it.
"""

import sys

if sys.version_info >= (3, 11):
    from typing import Unpack
else:
    from typing_extensions import Unpack

__all__ = ["Unpack"]
