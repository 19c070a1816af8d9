"""One size that a user may choose, and which values of it are admissible: of recipes, builders and workloads alike."""

from __future__ import annotations

from dataclasses import dataclass

ABSURD = 10**9


@dataclass(frozen=True)
class Size:
    """One size a user may choose: admissible values are ``offset + k * step``, least to most."""

    default: int
    step: int = 1
    offset: int = 0
    least: int | None = None
    most: int | None = None
    doc: str = ""
    verified: tuple[int, int] | None = None
    """The smallest and the largest value at which traces agreed with the record; None where that is not known."""

    @property
    def lowest(self) -> int:
        """The smallest admissible value."""
        if self.least is not None:
            return self.least
        return self.offset if self.offset > 0 else self.step

    def check(self, name: str, value: int) -> None:
        """Raise `ValueError` with a sentence when `value` is not admissible."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{name} must be a whole number, not {value!r}")
        said = f"{name}={value if abs(value) < 10**30 else 'a number of more than 30 digits'}"
        if value < self.lowest:
            raise ValueError(f"{said} is too small; the smallest is {self.lowest}")
        if value > ABSURD:
            raise ValueError(f"{said} is absurd; sizes go up to {ABSURD:,}")
        if self.most is not None and value > self.most:
            raise ValueError(f"{name}={value} is too large; the largest is {self.most}")
        if (value - self.offset) % self.step:
            below = value - (value - self.offset) % self.step
            near = [v for v in (below, below + self.step) if v >= self.lowest]
            form = f"{self.offset} + a multiple of {self.step}" if self.offset else f"a multiple of {self.step}"
            raise ValueError(
                f"{name}={value} is not admissible; it must be {form}, such as {' or '.join(map(str, near))}"
            )
