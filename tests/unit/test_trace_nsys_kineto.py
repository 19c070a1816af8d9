"""One run as both kinds of file: an export transcribed from a Kineto trace tells the same."""

import gzip
import json
import re
from decimal import Decimal

import pytest
from nsys_made import COPY, FILL, KERNEL, MAIN, Export, tid
from trace_made import place_of

from frameroof.trace.find.idle import explain_idle
from frameroof.trace.read.decode import read
from frameroof.trace.read.nsys.export import read_nsys
from frameroof.trace.resolve.operator_cost import cost, matmul
from frameroof.trace.resolve.work_table import make_work_table

COPY_KINDS = {"HtoD": 1, "DtoH": 2, "DtoD": 8}
MEMORY_KINDS = {"Pageable": 0, "Pinned": 1, "Device": 2, "Unknown": 7}


def nanoseconds(value):
    """A time of a Kineto file in whole nanoseconds, exactly."""
    return int((Decimal(value) * 1000).to_integral_value())


def flat(dims):
    """Lists of tensors in place, as `emit_nvtx` writes them."""
    return [one for d in dims for one in (d if d and not isinstance(d[0], int) else [d])]


def transcribe(source, target):
    """What Nsight Systems would have recorded of the run in a Kineto file, Python frames aside."""
    with gzip.open(source) if source.suffix == ".gz" else source.open("rb") as file:
        events = json.load(file, parse_float=Decimal)["traceEvents"]
    export = Export(target)
    for event in (e for e in events if e["ph"] == "X"):
        args, sort = event.get("args", {}), event.get("cat")
        start = nanoseconds(event["ts"])
        end = start + nanoseconds(event["dur"])
        if sort in ("cpu_op", "user_annotation"):
            suffix = f", op_id = {args['External id']}" if sort == "cpu_op" else ""
            if "Input Dims" in args:
                suffix += f", sizes = {json.dumps(flat(args['Input Dims']))}"
            export.range(start, end, event["name"] + suffix, thread=tid(event["pid"], event["tid"]))
        elif sort in ("cuda_runtime", "cuda_driver"):
            export.call(start, end, f"{event['name']}_v7000", args["correlation"], tid(event["pid"], event["tid"]))
        elif sort == "overhead":
            row = {"globalTid": MAIN, "nameId": export.string(event["name"])}
            export.add("PROFILER_OVERHEAD", start=start, end=end, **row)
        elif sort in ("kernel", "gpu_memcpy", "gpu_memset"):
            row = {"start": start, "end": end, "deviceId": args["device"], "streamId": args["stream"]}
            row |= {"correlationId": args["correlation"], "globalPid": None}
            words = re.findall(r"\w+", event["name"])
            if sort == "kernel":
                names = {"demangledName": export.string(event["name"]), "shortName": export.string(event["name"])}
                export.add(KERNEL, **row, **names)
            elif sort == "gpu_memcpy":
                places = dict(zip(("srcKind", "dstKind"), (MEMORY_KINDS[w] for w in words[2:]), strict=True))
                export.add(COPY, **row, bytes=args["bytes"], copyKind=COPY_KINDS[words[1]], **places)
            else:
                export.add(FILL, **row, bytes=args["bytes"], memKind=MEMORY_KINDS[words[1]])
    return export


@pytest.mark.parametrize(
    "name",
    [
        *("h100_eager_diffusion.json", "h100_flash_gqa.json", "a100_two_devices.json"),
        *(
            pytest.param(f"{name}.json.gz", marks=pytest.mark.shared)
            for name in ("b200_eager", "h100_timesformer", "h100_vit_falconsai")
        ),
    ],
)
def test_both_kinds_of_file_tell_the_same_of_one_run(tmp_path, name):
    source = place_of(name)
    transcribe(source, tmp_path / "run.sqlite").close()
    kineto, nsight = make_work_table(read(source)), make_work_table(read_nsys(tmp_path / "run.sqlite"))
    assert nsight.kernel == kineto.kernel
    for column in ("start", "end", "device", "stream", "bytes", "graph"):
        assert (getattr(nsight, column) == getattr(kineto, column)).all(), column
    assert nsight.operator == kineto.operator
    assert nsight.classes == kineto.classes
    given = [(nsight.input(row), kineto.input(row)) for row in range(len(kineto))]
    assert all(n is None if k is None else n and list(n.dims) == flat(k.dims) for n, k in given)
    assert any(n for n, _ in given)
    products = [at for at, (n, k) in enumerate(given) if k and matmul(kineto.operator[at].removeprefix("aten::"), k)]
    assert products
    for at in products:  # dimensions are enough for FLOPs
        assert cost(nsight.operator[at], given[at][0]).flops == cost(kineto.operator[at], given[at][1]).flops
    assert explain_idle(nsight).causes == explain_idle(kineto).causes
