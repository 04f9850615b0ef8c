"""llama.cpp as a peer of `rlaif bench`: a line of JSON in, {"units", "seconds"} or {"skip"} out.

Usage: llama_cpp.py FOLDER, which holds llama-batched-bench and llama-server (tools/llama_cpp.sh).
Prompts and rollouts are timed by its own batched bench (loading not counted); labelling goes through its
server, one slot after the other with its own reuse of a prompt's beginning, both orders of every pair.
"""
import json
import random
import socket
import subprocess
import sys
import time
import urllib.request

BIN = sys.argv[1]
servers = {}


def batched(q, prompt, add):
    room = q["n"] * (prompt + add) + 64
    out = subprocess.run(
        [f"{BIN}/llama-batched-bench", "-m", q["gguf"], "-c", str(room), "-b", "2048", "-ub", "512", "-t", str(q["threads"]), "-tb",
         str(q["threads"]), "-npp", str(prompt), "-ntg", str(add), "-npl", str(q["n"]), "--output-format", "jsonl"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
    return json.loads([line for line in out.splitlines() if line.startswith("{")][-1])


def server(q):
    if q["gguf"] not in servers:
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        p = subprocess.Popen(
            [f"{BIN}/llama-server", "-m", q["gguf"], "--port", str(port), "-t", str(q["threads"]), "-tb", str(q["threads"]), "-np", "1", "-c",
             "2048", "-b", "2048", "-ub", "512"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        servers[q["gguf"]] = (p, port)
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1)
                break
            except OSError:
                time.sleep(0.2)
    return servers[q["gguf"]][1]


def ask(port, ids):
    body = {"prompt": ids, "n_predict": 1, "n_probs": 10, "temperature": -1, "cache_prompt": True}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/completion", json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=600))


def label(q):
    """Preamble, then text and two candidates; in the other order the candidates change places."""
    r, port = random.Random(time.time_ns()), server(q)
    ids = lambda n: [r.randrange(1000, 40000) for _ in range(n)]
    head, third = ids(q["shared"]), q["length"] // 3
    pairs = [(ids(q["length"] - 2 * third), ids(third), ids(third)) for _ in range(q["n"])]
    start = time.monotonic()
    for text, a, b in pairs:
        ask(port, head + text + a + b)
        ask(port, head + text + b + a)
    return {"units": q["n"], "seconds": time.monotonic() - start}


def answer(q):
    if q["kind"] == "score" and not q["shared"]:
        return {"units": q["n"] * q["length"], "seconds": batched(q, q["length"], 1)["t_pp"]}
    if q["kind"] == "rollout":
        t = batched(q, q["length"], q["add"])
        return {"units": q["n"] * q["add"], "seconds": t["t_pp"] + t["t_tg"]}
    if q["kind"] == "label":
        return label(q)
    return {"skip": "llama.cpp does not do this"}


try:
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except Exception as e:
            reply = {"skip": f"{type(e).__name__}: {e}"[:120]}
        print(json.dumps(reply), flush=True)
finally:
    for p, _ in servers.values():
        p.kill()
