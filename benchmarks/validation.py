"""How far off expected times are of what they were not fitted to: `python benchmarks/validation.py --out FILE`.

Most curves come from tables of single kernels. A few constants were fitted to published times of whole models
(`CONSTANTS`: eager traffic, convolutions, hosts). They are fitted again here, to all published rows, then without each
family of models and without each generation of devices, and the rows that were left out are scored. A fit is robust
least squares of the logarithms, linear in the logarithms of the constants around the shipped ones; where rows say
nothing of a constant it falls back to its prior. The form of the model, and rates of kernels that papers state, are not
left out. Printed and written: the figures of each group as shipped, fitted, family left out and generation left out,
the constants, and the residuals' quantiles that `estimate/expected/intervals.py` rests on. Takes minutes on one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from frameroof.estimate.expected.general import curves_of
from frameroof.estimate.expected.kernels import Kernels
from frameroof.estimate.expected.software import software_of
from frameroof.hardware import Device, parse_node
from frameroof.study.validate.groups import groups, percentile
from frameroof.study.validate.rows import Row, shipped_rows
from frameroof.study.validate.score import Scored, score

CONSTANTS: Mapping[str, tuple[float, float, float]] = {
    "traffic.issued": (8.0, 2.0, 30.0),
    "traffic.copies": (0.5, 0.1, 1.0),
    "convolution.eager": (0.7, 0.3, 0.95),
    "convolution.compiled": (0.8, 0.3, 0.95),
    "convolution.three": (0.5, 0.1, 0.95),
    "convolution.tf32": (500.0, 100.0, 2000.0),
    "convolution.depthwise": (0.5, 0.05, 0.95),
    "host.server": (12.0, 3.0, 60.0),
    "host.a100": (12.0, 3.0, 60.0),
    "host.desktop": (12.0, 3.0, 60.0),
}
"""What whole models were needed for: the prior, and between which two a fit may end. Hosts are eager microseconds a
launch."""
STEP = 0.05
"""Of a logarithm, for slopes."""
PRIOR = 0.02
"""Weight of the prior beside a row's: enough to decide where no row speaks."""
ROBUST = 0.05
"""Residuals above it count by their size, as in a median, and not by their square."""

Values = dict[str, float]


def shipped_values() -> Values:
    """The constants as they are shipped."""
    from frameroof.estimate.expected.general import general

    made = general()
    found = {}
    for name in CONSTANTS:
        part, _, field = name.partition(".")
        found[name] = made.hosts[field].eager_us if part == "host" else getattr(getattr(made, part), field)
    return found


@cache
def _plain(device: Device) -> Any:
    return curves_of(device)


def _model(row: Row, device: Device, values: Values) -> Kernels:
    """The shipped model with these constants."""
    from frameroof.estimate.expected.general import general

    curves = _plain(device)
    changed: dict[str, Any] = {}
    for part in ("traffic", "convolution"):
        own = {name.partition(".")[2]: value for name, value in values.items() if name.startswith(part)}
        changed[part] = msgspec.structs.replace(getattr(curves, part), **own)
    for name, host in general().hosts.items():
        if host == curves.host:
            changed["host"] = msgspec.structs.replace(host, eager_us=values[f"host.{name}"])
    named = msgspec.structs.replace(curves, **changed, device=device.name.partition(" with ")[0])
    return Kernels(software_of(row.software or None), named)


def predicted(rows: Sequence[Row], values: Values | None = None) -> list[Scored]:
    """Each row with these constants, in the given order; as shipped without."""
    if values is None:
        return [score(row) for row in rows]
    return [score(row, _model(row, parse_node(row.machine).device, values)) for row in rows]


@dataclass(frozen=True)
class Linear:
    """Logarithms of expected over published times around the shipped constants, and their slopes."""

    values: Values
    error: Any
    slopes: Any

    @classmethod
    def of(cls, rows: Sequence[Row], values: Values) -> Linear:
        """One pass over the rows a constant."""

        def logs(at: Values) -> Any:
            return np.log([1 + (each.error or 0.0) for each in predicted(rows, at)])

        error = logs(values)
        columns = [(logs({**values, name: value * np.exp(STEP)}) - error) / STEP for name, value in values.items()]
        return cls(values, error, np.array(columns).T)

    def fitted(self, use: Any) -> Values:
        """The constants that suit the rows of the mask `use`."""
        at = np.zeros(len(self.values))
        prior = np.log([CONSTANTS[name][0] / value for name, value in self.values.items()])
        ends = [np.log([CONSTANTS[n][side] / v for n, v in self.values.items()]) for side in (1, 2)]
        for _ in range(50):
            left = self.error[use] + self.slopes[use] @ at
            weight = 1 / np.maximum(np.abs(left), ROBUST) * ROBUST
            slopes = self.slopes[use]
            matrix = slopes.T @ (weight[:, None] * slopes) + PRIOR * np.eye(len(at))
            goal = -slopes.T @ (weight * self.error[use]) + PRIOR * prior
            at = np.clip(np.linalg.solve(matrix, goal), *ends)
        return {
            name: float(value * np.exp(change)) for (name, value), change in zip(self.values.items(), at, strict=True)
        }


def left_out(rows: Sequence[Row], linear: Linear, kind: Callable[[Row], str]) -> list[Scored]:
    """Every row, predicted with the constants that suit the rows of all other kinds."""
    kinds = np.array([kind(row) for row in rows])
    found: dict[str, Scored] = {}
    for each in dict.fromkeys(kinds.tolist()):
        mine = [row for row in rows if kind(row) == each]
        found |= {scored.row.id: scored for scored in predicted(mine, linear.fitted(kinds != each))}
    return [found[row.id] for row in rows]


def quantiles(scored: Sequence[Scored]) -> dict[str, dict[str, float]]:
    """Published over expected by what the interval knows of a time: its tenth, middle and ninetieth percentile."""
    kinds: dict[str, list[float]] = {}
    for each in scored:
        assert each.expected_s is not None
        compiled = software_of(each.row.software or None).compiled
        state = "compiled" if compiled else "eager"
        kind = "host-bound" if each.host_bound else f"{state}, {'tables' if each.tables else 'derived'}"
        kinds.setdefault(kind, []).append(each.row.seconds / each.expected_s)
    return {
        kind: {"rows": len(found), **{f"p{100 * share:.0f}": round(percentile(found, share), 3) for share in ENDS}}
        for kind, found in sorted(kinds.items())
    }


ENDS = (0.1, 0.5, 0.9)


def _generation(row: Row) -> str:
    return parse_node(row.on).device.generation or row.on


def run() -> dict[str, Any]:
    """Everything that is written."""
    shipped = [each for each in predicted(shipped_rows()) if not each.left_out and each.row.devices == 1]
    rows = [each.row for each in shipped]
    linear = Linear.of(rows, shipped_values())
    fitted = linear.fitted(np.ones(len(rows), bool))
    kinds = {
        "shipped": shipped,
        "fitted": predicted(rows, fitted),
        "family_left_out": left_out(rows, linear, lambda row: row.family),
        "generation_left_out": left_out(rows, linear, _generation),
    }
    bound = {each.row.id: each.host_bound for each in shipped}  # so that groups have the same rows
    kinds = {kind: [replace(each, host_bound=bound[each.row.id]) for each in found] for kind, found in kinds.items()}
    return {
        "date": date.today().isoformat(),
        "rows": len(rows),
        "constants": {"shipped": shipped_values(), "fitted": {name: round(v, 3) for name, v in fitted.items()}},
        "groups": {
            kind: {name: _rounded(group.to_dict()) for name, group in groups(scored).items()}
            for kind, scored in kinds.items()
        },
        "published_over_expected": {kind: quantiles(scored) for kind, scored in kinds.items()},
    }


def _rounded(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: round(value, 4) for name, value in figures.items()}


def _line(group: Mapping[str, Any]) -> str:
    shares = (group[name] for name in ("median", "p90", "within_20", "coverage"))
    return f"{group['rows']:4}" + "".join(f"{share:7.1%}" for share in shares)


def main() -> None:
    """Fit, leave out, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    found = run()
    text = json.dumps(found, indent=1) + "\n"
    out = parser.parse_args().out
    if out:
        out.write_text(text, encoding="utf-8")
    for name in next(iter(found["groups"].values())):
        said = [found["groups"][kind].get(name) for kind in found["groups"]]
        print(f"{name:24}", *(_line(group) for group in said if group))
    print(json.dumps(found["constants"], indent=1))
    print(json.dumps(found["published_over_expected"], indent=1))


if __name__ == "__main__":
    main()
