"""Numbers of things, as reports and messages write them."""


def counted(number: int, noun: str) -> str:
    """Returns a number and its noun, such as `1 prompt` or `4,096 forwards`.

    Args:
        number: How many, >= 0.
        noun: Singular of a noun whose plural ends in s.
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
