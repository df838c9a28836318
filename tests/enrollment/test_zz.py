import asyncio, pytest, secrets, time, json, subprocess, sys
from pathlib import Path
from tests.enrollment.mqtt import *
from tests.enrollment.test_requests import pour
pytestmark = pytest.mark.asyncio(loop_scope="module")
def hwm(pid):
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0])//1024
def reset(pid): Path(f"/proc/{pid}/clear_refs").write_text("5")
async def test_x(plant, other):
    pid=plant.gateway.child.pid
    print("start", hwm(pid))
    burn=[subprocess.Popen([sys.executable,"-c","while True: pass"]) for _ in range(4)]
    try:
     for what in ("small","both","large after small"):
      for _ in range(3):
        reset(pid)
        cs=[await plant.door.open(f"e-{secrets.token_hex(16)}") for _ in range(4)]
        stop=asyncio.Event()
        async def big(c,s):
            t0=time.monotonic(); n=0
            while time.monotonic()-t0<s:
                await c.publish(f"enroll/v1/req/{secrets.token_hex(16)}", bytes(10**6)); n+=1
            return n
        fl=[asyncio.create_task(pour(c, 1500, stop)) for c in cs]
        if what=="both": await big(cs[0],3)
        else: await asyncio.sleep(2)
        stop.set(); n=sum(await asyncio.gather(*fl))
        if what=="large after small":
            n2=await big(cs[0],10)
        for c in cs: await c.close()
        await asyncio.sleep(1)
        print("large", what, n, hwm(pid))
    finally:
        for b in burn: b.kill(); b.wait()
