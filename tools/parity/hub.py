"""One cache for two programs: what rlaif fetched serves huggingface_hub, and the other way round.

The Hub is the scripted one of the tests (BUILD/tests/hub).  huggingface_hub reads its environment when it is
imported, so each step of its is a Python of its own."""
import os
import subprocess
import sys
import tempfile
import time

COMMIT = "0123456789abcdef0123456789abcdef01234567"

OFFLINE = """
from huggingface_hub import hf_hub_download, snapshot_download, scan_cache_dir, try_to_load_from_cache
folder = snapshot_download("lab/s", local_files_only=True, allow_patterns=["*.json", "*.safetensors"])
assert folder.endswith("/snapshots/COMMIT"), folder
for name in ["config.json", "tokenizer.json", "model.safetensors"]:
    path = hf_hub_download("lab/s", name, local_files_only=True)
    assert path == folder + "/" + name == try_to_load_from_cache("lab/s", name), path
info = scan_cache_dir()
assert not info.warnings, info.warnings
(repo,) = info.repos
(revision,) = repo.revisions
assert repo.repo_id == "lab/s" and revision.commit_hash == "COMMIT" and revision.refs == {"main"}, repo
print(repo.size_on_disk)
""".replace("COMMIT", COMMIT)

ONLINE = """
from huggingface_hub import snapshot_download
print(snapshot_download("lab/s", allow_patterns=["*.json", "*.safetensors"]))
"""

LOCK = """
import os, sys, time
from huggingface_hub import constants
from huggingface_hub.utils import WeakFileLock
path = os.path.join(constants.HF_HUB_CACHE, ".locks", "models--lab--s", sys.argv[1] + ".lock")
os.makedirs(os.path.dirname(path), exist_ok=True)
with WeakFileLock(path):
    print("held", flush=True)
    time.sleep(3)
"""


class Hub:
    """A scripted Hub with the small lab model as lab/s."""

    def __init__(self, program, root, model):
        self.root = root
        repo = os.path.join(root, "repos/models/lab/s")
        os.makedirs(os.path.join(repo, "refs"))
        subprocess.run(["cp", "-rL", model, os.path.join(repo, COMMIT)], check=True)
        os.remove(os.path.join(repo, COMMIT, "manifest.json"))  # no file of a model: not fetched
        with open(os.path.join(repo, "refs/main"), "w") as f:
            f.write(COMMIT)
        open(os.path.join(root, "faults"), "w").close()
        self.process = subprocess.Popen([program, root])
        ports = os.path.join(root, "ports")
        for _ in range(200):
            if os.path.exists(ports):
                break
            time.sleep(0.05)
        with open(ports) as f:
            self.endpoint = "http://127.0.0.1:" + f.read().split()[0]

    def environment(self, home, **more):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_OFFLINE"))}
        return env | {"HF_ENDPOINT": self.endpoint, "HF_HOME": os.path.join(self.root, home), "no_proxy": "127.0.0.1",
                      "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1", **more}

    def bodies(self):
        """Requests that fetched a file's bytes."""
        try:
            with open(os.path.join(self.root, "log")) as f:
                return sum(" GET " in line and ("/resolve/" in line or "/cdn/" in line) for line in f)
        except FileNotFoundError:
            return 0


def python(code, env, *args):
    r = subprocess.run([sys.executable, "-c", code, *args], env=env, capture_output=True, text=True)
    return r.returncode == 0, (r.stdout + r.stderr[-400:]).strip()


def rlaif_run(program, env, *args):
    r = subprocess.run([program, *args], env=env, capture_output=True, text=True)
    return r.returncode == 0, r.stdout + r.stderr[-400:]


def ours_serves_theirs(report, program, hub):
    env = hub.environment("ours")
    ok, said = rlaif_run(program, env, "pull", "lab/s", "--json")
    report.check("hub: pull", ok, said.strip().splitlines()[-1] if said else "")
    ok, said = python(OFFLINE, hub.environment("ours", HF_HUB_OFFLINE="1"))
    report.check("hub: huggingface_hub uses our cache offline, scan_cache_dir has no warnings", ok, said)
    before = hub.bodies()
    ok, said = python(ONLINE, env)
    report.check("hub: huggingface_hub online fetches nothing again", ok and hub.bodies() == before,
                 f"{hub.bodies() - before} requests for bytes; {said[-200:]}")


def theirs_serves_ours(report, program, hub):
    ok, said = python(ONLINE, hub.environment("theirs"))
    before = hub.bodies()
    ok2, out = rlaif_run(program, hub.environment("theirs", HF_HUB_OFFLINE="1"), "inspect", "lab/s", "--json")
    report.check("hub: rlaif uses huggingface_hub's cache offline", ok and ok2 and hub.bodies() == before,
                 said if not ok else out[:60].replace("\n", " ") if ok2 else out)
    ok, out = rlaif_run(program, hub.environment("theirs"), "pull", "lab/s")
    report.check("hub: rlaif online fetches nothing again", ok and hub.bodies() == before,
                 f"{hub.bodies() - before} requests for bytes")


def locks_are_shared(report, program, hub, etag):
    env = hub.environment("locked")
    holder = subprocess.Popen([sys.executable, "-c", LOCK, etag], env=env, stdout=subprocess.PIPE, text=True)
    holder.stdout.readline()
    start = time.monotonic()
    ok, said = rlaif_run(program, env, "pull", "lab/s")
    seconds = time.monotonic() - start
    holder.wait()
    report.check("hub: a lock that Python holds is waited for", ok and seconds > 2, f"{seconds:.1f} s of 3")


def check(report, program, model):
    hub_program = os.path.join(os.path.dirname(program), "tests", "hub")
    if not os.path.exists(hub_program) or not os.path.exists(os.path.join(model, "model.safetensors")):
        report.skip("hub", f"needs {hub_program} (make tests-built) and {model}")
        return
    with tempfile.TemporaryDirectory() as root:
        hub = Hub(hub_program, root, model)
        try:
            ours_serves_theirs(report, program, hub)
            theirs_serves_ours(report, program, hub)
            blobs = os.listdir(os.path.join(root, "ours/hub/models--lab--s/blobs"))
            locks_are_shared(report, program, hub, next(b for b in blobs if len(b) == 64))
        finally:
            hub.process.kill()
