"""Several processes as one job: who is who, turns, shares, and what a process says at its end."""

import contextlib
import http.server
import json
import os
import subprocess
import sys
import threading

import pytest
from running import free_port, spoken

from p3m_jax.errors import OptionError
from p3m_jax.runtime import distributed


def test_what_the_flag_says():
    assert distributed.settings("off") is None
    assert distributed.settings("auto") == {}
    assert distributed.settings("node-1:9876,4,3") == {
        "coordinator_address": "node-1:9876",
        "num_processes": 4,
        "process_id": 3,
    }
    for wrong in ("", "on", "node-1,4,3", "node-1:9876,4", "node-1:9876,4,x", "node-1:9876,4,4"):
        with pytest.raises(OptionError, match=f"--distributed={wrong}: "):
            distributed.settings(wrong)


def test_alone_it_is_all_of_them():
    assert distributed.is_first()
    assert distributed.share([1, 2, 3]) == [1, 2, 3]
    assert distributed.in_order(distributed.gather([1, 2, 3])) == [1, 2, 3]
    with distributed.first_in_turn("nothing"):
        pass
    assert distributed.lost_peer(RuntimeError("Gloo AllGather failed")) is None


# Found by way of the variables that `srun`, `mpirun` and Kubernetes set and of what a TPU host's
# metadata server says, and told by hand.
PROCESSES = """
import json
import os
import sys
import time

from p3m_jax.runtime import distributed

if "GCE_METADATA_IP" in os.environ:
    import jax

    del os.environ["TPU_SKIP_MDS_QUERY"]  # set where there is no chip

with distributed.connected(sys.argv[1]):
    import jax

    start = time.time()
    with distributed.first_in_turn("waiting"):
        if distributed.is_first():
            time.sleep(2)
    waited = time.time() - start
    numbers = list(range(7))
    seen = distributed.in_order(distributed.gather(distributed.share(numbers)))
    found = {"seen": seen, "waited": waited, "devices": jax.device_count()}
    print(json.dumps(found), flush=True)
    try:
        with distributed.first_in_turn("failing"):
            if not distributed.is_first():
                raise OSError("no")
    except distributed.DistributedError as error:
        print(error, flush=True)
        raise SystemExit(1)
"""


@contextlib.contextmanager
def metadata_server(attributes):
    """A TPU host's metadata server, as far as JAX asks it: its address."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            text = attributes.get(self.path.rpartition("/")[2])
            self.send_response(404 if text is None else 200)
            self.end_headers()
            self.wfile.write((text or "").encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("localhost", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"localhost:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("how", ["slurm", "open mpi", "tpu pod", "gke", "by hand"])
def test_processes_take_turns_and_gather(how):
    with contextlib.ExitStack() as stack:
        take_turns_and_gather(how, stack)


def take_turns_and_gather(how, stack):
    port = free_port()
    job = 40000 + port % 4096 + 4096 * 4  # Slurm's port follows from its number
    running = []
    for index in range(2):
        choice, found = f"localhost:{port},2,{index}", {}
        if how == "slurm":
            choice = "auto"
            found = {
                "SLURM_JOB_ID": str(job),
                "SLURM_STEP_NODELIST": "localhost",
                "SLURM_NTASKS": "2",
                "SLURM_PROCID": str(index),
                "SLURM_LOCALID": str(index),
                "SLURM_STEP_NUM_NODES": "1",
            }
        elif how == "open mpi":
            choice = "auto"
            found = {
                "OMPI_MCA_orte_hnp_uri": f"{4096 * (port % 4096)}.0;tcp://127.0.0.1:34911",
                "OMPI_COMM_WORLD_SIZE": "2",
                "OMPI_COMM_WORLD_RANK": str(index),
                "OMPI_COMM_WORLD_LOCAL_RANK": str(index),
            }
        elif how in ("tpu pod", "gke"):
            choice = "auto"
            found = {"JAX_FORCE_TPU_INIT": "1", "JAX_COORDINATOR_PORT": str(port)}
        if how == "gke":  # as a JobSet of two slices of one host each
            found |= {
                "TPU_WORKER_HOSTNAMES": "localhost",
                "TPU_WORKER_ID": "0",
                "MEGASCALE_COORDINATOR_ADDRESS": "localhost:8080",
                "MEGASCALE_NUM_SLICES": "2",
                "MEGASCALE_SLICE_ID": str(index),
            }
        elif how == "tpu pod":
            pytest.importorskip("requests")
            attributes = {
                "agent-worker-number": str(index),
                "worker-network-endpoints": "unknown:unknown:127.0.0.1,unknown:unknown:127.0.0.2",
                "tpu-env": "ACCELERATOR_TYPE: 'v5litepod-8'",
            }
            found["GCE_METADATA_IP"] = stack.enter_context(metadata_server(attributes))
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", PROCESSES, choice],
                env={**os.environ, **found, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    (first, first_error), (second, second_error) = (p.communicate(timeout=120) for p in running)
    assert [process.returncode for process in running] == [1, 1], first_error + second_error
    told, sentence = spoken(first)
    assert json.loads(told)["seen"] == list(range(7))
    assert json.loads(told)["devices"] == 2
    assert (
        sentence == "Another process of this job failed while preparing failing; see its message."
    )
    assert spoken(second) == []
    assert "OSError: no" in second_error


LAST_WORD = """
import os
import sys

from p3m_jax.runtime.distributed import _last_word

with _last_word("It was ended."):
    if sys.argv[1] == "abort":
        os.abort()
"""


@pytest.mark.parametrize("end", ["abort", "well"])
def test_a_process_that_is_ended_at_once_has_a_last_word(end):
    done = subprocess.run(
        [sys.executable, "-c", LAST_WORD, end], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode == 0) == (end == "well")
    assert ("It was ended." in done.stderr) == (end == "abort")
