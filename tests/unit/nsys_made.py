"""Writes small Nsight Systems exports: SQLite files with the real table layouts."""

import sqlite3

from frameroof.trace.read.nsys.export import read_nsys

# Columns as in an export by Nsight Systems 2024.6.2 (schema 3.16.1), the tables of graphs as in the user guide; columns
# that the reader never looks at are left out.
TIMES = "start INTEGER NOT NULL, end INTEGER NOT NULL"
DEVICE = f"{TIMES}, deviceId INTEGER NOT NULL, streamId INTEGER, correlationId INTEGER, globalPid INTEGER"
CALLED = "globalTid INTEGER, correlationId INTEGER, nameId INTEGER"
TABLES = {
    "StringIds": "id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL",
    "META_DATA_EXPORT": "name TEXT NOT NULL, value TEXT",
    "TARGET_INFO_SESSION_START_TIME": "utcEpochNs INTEGER, utcTime TEXT, localTime TEXT",
    "TARGET_INFO_SYSTEM_ENV": "globalVid INTEGER, devStateName TEXT, name TEXT, nameEnum INTEGER, value TEXT",
    "TARGET_INFO_GPU": "vmId INTEGER, id INTEGER NOT NULL, name TEXT, busLocation TEXT, totalMemory INTEGER",
    "TARGET_INFO_CUDA_DEVICE": "gpuId INTEGER, cudaId INTEGER, pid INTEGER, uuid TEXT, numMultiprocessors INTEGER",
    "CUPTI_ACTIVITY_KIND_KERNEL": f"{DEVICE}, demangledName INTEGER, shortName INTEGER NOT NULL, mangledName INTEGER,"
    " gridX INTEGER, graphNodeId INTEGER",
    "CUPTI_ACTIVITY_KIND_MEMCPY": f"{DEVICE}, bytes INTEGER NOT NULL, copyKind INTEGER NOT NULL, srcKind INTEGER,"
    " dstKind INTEGER, graphNodeId INTEGER",
    "CUPTI_ACTIVITY_KIND_MEMSET": f"{DEVICE}, bytes INTEGER NOT NULL, graphNodeId INTEGER, memKind INTEGER",
    "CUPTI_ACTIVITY_KIND_GRAPH_TRACE": f"{DEVICE}, graphId INTEGER NOT NULL, graphExecId INTEGER NOT NULL",
    "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION": f"{DEVICE}, syncType INTEGER NOT NULL, eventId INTEGER NOT NULL",
    "CUPTI_ACTIVITY_KIND_RUNTIME": f"{TIMES}, eventClass INTEGER, {CALLED} NOT NULL, returnValue INTEGER,"
    " callchainId INTEGER",
    "NVTX_EVENTS": "start INTEGER NOT NULL, end INTEGER, eventType INTEGER NOT NULL, rangeId INTEGER, category INTEGER,"
    " color INTEGER, text TEXT, globalTid INTEGER, endGlobalTid INTEGER, textId INTEGER, domainId INTEGER",
    "PROFILER_OVERHEAD": f"{TIMES}, {CALLED}",
    "OSRT_API": f"{TIMES}, globalTid INTEGER, nameId INTEGER",
    "CUDA_GRAPH_NODE_EVENTS": f"{TIMES}, eventClass INTEGER, globalTid INTEGER, nameId INTEGER, graphNodeId INTEGER,"
    " originalGraphNodeId INTEGER",
}
KERNEL, COPY, FILL = (f"CUPTI_ACTIVITY_KIND_{name}" for name in ("KERNEL", "MEMCPY", "MEMSET"))
GRAPH, SYNC, CALL = (f"CUPTI_ACTIVITY_KIND_{name}" for name in ("GRAPH_TRACE", "SYNCHRONIZATION", "RUNTIME"))
NVTX = "NVTX_EVENTS"


def tid(pid, thread):
    return 1 << 48 | pid << 24 | thread


MAIN, PID = tid(4711, 42), tid(4711, 0)


class Export:
    """Writes an export: only the tables that hold rows, as Nsight Systems does."""

    def __init__(self, path):
        self.path, self.db, self.strings = path, sqlite3.connect(path), {}
        self.add("META_DATA_EXPORT", name="EXPORT_SCHEMA_VERSION", value="3.16.1")

    def string(self, text):
        if text not in self.strings:
            self.strings[text] = len(self.strings) + 1
            self.add("StringIds", id=self.strings[text], value=text)
        return self.strings[text]

    def add(self, table, **row):
        self.db.execute(f"CREATE TABLE IF NOT EXISTS {table} ({TABLES[table]})")
        names = ", ".join(f'"{name}"' for name in row)
        self.db.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(row))})", list(row.values()))
        return self

    def kernel(self, start, end, name="k", correlation=0, stream=7, device=0, pid=PID, node=None):
        text = self.string(name)
        return self.add(
            KERNEL, start=start, end=end, deviceId=device, streamId=stream, correlationId=correlation, globalPid=pid,
            demangledName=text, shortName=text, graphNodeId=node,
        )  # fmt: skip

    def call(self, start, end, name, correlation, thread=MAIN):
        row = {"globalTid": thread, "correlationId": correlation, "nameId": self.string(name), "returnValue": 0}
        return self.add(CALL, start=start, end=end, eventClass=0, **row)

    def range(self, start, end, text, sort=59, thread=MAIN, **more):
        row = {"text": text, "globalTid": thread, "domainId": 0, **more}
        return self.add(NVTX, start=start, end=end, eventType=sort, **row)

    def close(self):
        self.db.commit()
        self.db.close()

    def read(self, **options):
        self.close()
        return read_nsys(self.path, **options)


def text(trace, columns):
    return [trace.names[n] for n in columns.name.tolist()]


def problems(trace):
    return {p.what: p.count for p in trace.problems}
