"""`frameroof count`: any nn.Module, or a diffusers folder, on meta tensors -> a workload."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from ..public import need_torch
from ..written import check_new, check_place
from .sizes import parse_sizes


def count(  # more than five arguments: each is an option of the command
    what: Annotated[
        str, typer.Argument(help="my_file.py:build, my_pkg.mod:build, a diffusers folder, or a model's name.")
    ],
    size: Annotated[list[str], typer.Option(help="A size: NAME=NUMBER; repeatable.")] = [],  # noqa: B006
    dtype: Annotated[
        str | None, typer.Option(help="bf16, fp16 or fp32: the type it is built in; or a unit: tf32, fp16_acc.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Record for every size and write NAME.workload.json.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Count every operation of a module's forward: FLOPs, bytes, parameters; no weights, no GPU."""
    from ..count.counting import check_dtype
    from ..count.counting import count as run

    check_dtype(dtype)
    if out is not None and not out.name.endswith(".json"):
        raise ValueError(f"{out}: a workload file's name ends in .json, such as my-model.workload.json")
    if out is not None:
        check_place(out)
        check_new(out, force)
    need_torch("count")
    from ..report.progress import status
    from ..workload.file import save

    sizes = parse_sizes(size)
    with status(f"counting {what}") as say, redirect_stdout(sys.stderr):  # what a builder prints is not ours
        workload = run(what, sizes=sizes, dtype=dtype, fixed=out is None, progress=say)
    if out is not None:
        save(workload, out, force=force)
    from ..report.counted import print_counted

    print_counted(workload, out, as_json)
