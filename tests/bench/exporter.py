"""`python -m tests.bench.exporter WHAT URL DIRECTORY`: export everything of one device in a process of its own, and
print what it took as JSON. WHAT is a format of exports, or `adbc`: the same values by ADBC into an Arrow stream, by the
statement that its users would write."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from pathlib import Path

CHANNELS = 20
COLUMNS = ", ".join(f'values[{slot}] as "c{slot}"' for slot in range(1, CHANNELS + 1))
STATEMENT = f"select time, {COLUMNS} from frames where device_id = 1 order by time, layout_id"


def by_export(format_: str, url: str, directory: Path) -> tuple[int, float]:
    """The rows, and the CPU s without the imports, whose memory counts."""
    import pandas  # noqa: F401  # by Arrow at its first array, if it is there, which it is for tests alone

    from api.files.export_job import run
    from schema.jobs import JobProgress, RunningJob
    from tests.api.plant import claimed_export

    before = time.process_time()
    os.environ["BIOGATE_DATABASE_URL"] = url
    request = {"device": ["exported"], "from": "2026-01-01T00:00:00Z", "to": "2027-01-01T00:00:00Z", "format": format_}
    job = asyncio.run(claimed_export(url, request))
    facts = asyncio.run(run(RunningJob(job, directory, JobProgress())))
    return int(facts["rows"]), time.process_time() - before


def by_adbc(url: str, directory: Path) -> tuple[int, float]:
    """The same by ADBC."""
    import pyarrow as pa
    from adbc_driver_postgresql import dbapi

    before = time.process_time()
    rows = 0
    with dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(STATEMENT)
        reader = cursor.fetch_record_batch()
        with pa.ipc.new_stream(directory / "adbc.arrow", reader.schema) as writer:
            for batch in reader:
                writer.write_batch(batch)
                rows += batch.num_rows
    return rows, time.process_time() - before


def main(what: str, url: str, directory: str) -> None:
    place = Path(directory)
    begun = time.perf_counter()
    rows, cpu_s = by_adbc(url, place) if what == "adbc" else by_export(what, url, place)
    took = {"rows": rows, "seconds": time.perf_counter() - begun, "cpu_s": cpu_s}
    print(json.dumps(took | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main(*sys.argv[1:])
