import pytest
import time
from tests.gateway.cell import *
@pytest.mark.timeout(300)
async def test_x(cell):
    names=[f"d{i}" for i in range(1000)]
    for n in names: await cell.login(n)
    async with cell.administered():
        t=time.monotonic(); await cell.settled(200); print("1000 logins", time.monotonic()-t)
        t=time.monotonic()
        for n in names[:100]: await cell.status(n,1)
        await eventually(lambda: cell.value("select count(*)=100 from credentials where activated_at is not null"),10); print("100 activated", time.monotonic()-t)
    assert 0
