"""What stands beside every number of a bench: configuration, machine and versions; and checks as they are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import msgspec

from ...study import stream_records as records
from .parity import Parity, Quality
from .variants import Setup


@dataclass(frozen=True)
class Here:
    """This machine and what runs on it."""

    setup: Setup
    hardware: str
    versions: Mapping[str, str]

    def on(self, row: records.Row, variant: str) -> records.Row:
        """A row of the log, with where and how it was measured."""
        row.configuration, row.hardware = configuration(self.setup, variant), self.hardware
        row.versions = dict(self.versions)
        return row


def configuration(setup: Setup, name: str) -> records.Configuration:
    """Everything that a row was measured with but the machine and the versions."""
    c, v = setup.config(name), setup.variant(name)
    fields = ("cache", "context", "recache", "tabulate", "window", "sink", "block", "height", "width", "text_tokens")
    return records.Configuration(
        model=setup.model,
        variant=name,
        dtype=str(setup.dtype).removeprefix("torch."),
        linears=v.scheme or "as dtype",
        quantized=list(v.only) if v.scheme else [],
        operations=v.ops,
        attention=v.attention,
        decoding=dict(v.decoding),
        graphs=v.graphs,
        batch=setup.batch,
        decoder=setup.decoder,
        weights="real" if setup.files else "random",
        steps=list(c.steps),
        layers=c.model.layers,
        dim=c.model.dim,
        **{name: getattr(c, name) for name in fields},
    )


def parity_of(found: Parity | None) -> records.Parity | None:
    """A check of equal numbers as it is written."""
    return records.Parity(**asdict(found)) if found else None


def quality_of(found: Quality) -> records.Quality:
    """A check of quality as it is written."""
    return msgspec.convert(found.to_dict(), records.Quality)
