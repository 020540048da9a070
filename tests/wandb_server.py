"""A server on the loopback that speaks as much of W&B's API as a run needs, and fails on demand.

`with WandbServer() as server:` gives `server.url` for WANDB_BASE_URL, and keeps what it was sent by the run's id.
"""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

Json = dict[str, Any]
KEY = "0123456789abcdef0123456789abcdef01234567"  # made up; as long as W&B's
ME = {"id": "RW50aXR5OjE=", "name": "me"}


@dataclass
class SentRun:
    """What the server has been sent of a run; a file's lines by their offset, so that a repeated line counts once."""

    project: str
    facts: Json = field(default_factory=dict)  # of the last upsertBucket
    upserts: int = 0
    lines: dict[str, dict[int, str]] = field(default_factory=dict)  # of wandb-history.jsonl and its like
    uploads: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def history(self) -> list[Json]:
        """The rows of the history, in their order; those of different steps that share a line would have been lost."""
        lines = self.lines.get("wandb-history.jsonl", {})
        return [json.loads(lines[offset]) for offset in sorted(lines)]

    @property
    def epochs(self) -> list[int]:
        return [row["epoch"] for row in self.history if "epoch" in row]

    @property
    def summary(self) -> Json:
        lines = self.lines.get("wandb-summary.json", {})
        return json.loads(lines[max(lines)]) if lines else {}


class WandbServer(ThreadingHTTPServer):
    """`failing` is how it answers: "" as W&B, "500", "hang" (until it ends), or "cut" (the connection)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.failing = ""
        self.ended = threading.Event()
        self.runs: dict[str, SentRun] = {}
        self.asked: list[str] = []  # what was asked for, in its order
        self.lock = threading.Lock()

    def __enter__(self) -> "WandbServer":
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that was killed."""

    def answer(self, query: str, given: Json) -> Json:
        """Answer a query of GraphQL."""
        name = query.split("(")[0].split("{")[0].split()[1]
        self.asked.append(name)
        match name:
            case "Viewer":
                return {
                    "viewer": {
                        **ME,
                        "entity": "me",
                        "username": "me",
                        "email": "",
                        "flags": "{}",
                        "teams": {"edges": []},
                    }
                }
            case "ServerFeaturesQuery":
                return {"serverInfo": {"features": []}}
            case "RunResumeStatus":
                return {
                    "model": {
                        "id": "project",
                        "name": given["project"],
                        "entity": ME,
                        "bucket": self.find_bucket(given["name"]),
                    }
                }
            case "UpsertBucket":
                return {"upsertBucket": self.upsert(given)}
            case "CreateRunFiles":
                place = f"{self.url}/storage/{given['run']}"
                files = [{"name": file, "uploadUrl": f"{place}/{file}"} for file in given["files"]]
                return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}
            case "ArtifactType":
                return {"project": {"artifact": None}}
            case "CreateArtifact":  # as if it had the files of each artifact already
                made = {"id": "artifact", "state": "COMMITTED", "artifactSequence": {"latestArtifact": None}}
                return {"createArtifact": {"artifact": made}}
            case "UseArtifact":
                return {"useArtifact": {"artifact": {"id": "artifact"}}}
            case "MarkRunFilesUploaded":
                return {"markRunFilesUploaded": {"success": True}}
        return {}

    def find_bucket(self, run_id: str) -> Json | None:
        """Return what W&B says of a run that is to be resumed, or None where it does not know it."""
        if (run := self.runs.get(run_id)) is None:
            return None
        tails = {name: list(run.lines.get(f"wandb-{name}.jsonl", {}).values())[-1:] for name in ("history", "events")}
        counts = {f"{name}LineCount": len(run.lines.get(f"wandb-{name}.jsonl", {})) for name in tails}
        counts["logLineCount"] = len(run.lines.get("output.log", {}))
        told = {f"{name}Tail": json.dumps(tail) for name, tail in tails.items()}
        facts = {"config": run.facts.get("config", "{}"), "displayName": run.facts.get("displayName")}
        facts |= {"tags": run.facts.get("tags"), "notes": None, "wandbConfig": json.dumps({"t": {}})}  # it has begun
        return (
            {"id": f"bucket {run_id}", "name": run_id, "summaryMetrics": json.dumps(run.summary)}
            | counts
            | told
            | facts
        )

    def upsert(self, given: Json) -> Json:
        """Make a run or change it."""
        inserted = given["name"] not in self.runs
        run = self.runs.setdefault(given["name"], SentRun(given["project"]))
        run.facts |= {key: value for key, value in given.items() if value is not None}
        run.upserts += 1
        project = {"id": "project", "name": given["project"], "entity": ME}
        bucket = {"id": f"bucket {given['name']}", "name": given["name"], "project": project}
        bucket |= {name: run.facts.get(name) for name in ("displayName", "description", "config")}
        bucket |= {"sweepName": None, "historyLineCount": len(run.lines.get("wandb-history.jsonl", {}))}
        return {"bucket": bucket, "inserted": inserted}

    def take_lines(self, run_id: str, sent: Json) -> None:
        """Keep what the file stream sends."""
        run = self.runs[run_id]
        for name, chunk in (sent.get("files") or {}).items():
            offset = chunk.get("offset", 0)
            lines = run.lines.setdefault(name, {})
            if name == "wandb-summary.json":
                offset = len(lines)
            lines.update({offset + number: line for number, line in enumerate(chunk["content"])})
        if sent.get("complete"):
            run.exit_code = sent.get("exitcode")


class Handler(BaseHTTPRequestHandler):
    server: WandbServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.fail():
            return
        path = urlsplit(self.path).path
        with self.server.lock:
            if path == "/graphql":
                asked = json.loads(body)
                self.reply({"data": self.server.answer(asked["query"], asked.get("variables") or {})})
            elif path.endswith("/file_stream"):
                self.server.asked.append("file_stream")
                self.server.take_lines(path.split("/")[-2], json.loads(body))
                self.reply({})
            else:
                self.reply({}, 404)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.fail():
            _, _, run_id, name = self.path.split("/", 3)
            self.server.runs[run_id].uploads[name] = body
            self.reply({})

    def do_GET(self) -> None:
        if not self.fail():
            self.reply({})

    def fail(self) -> bool:
        """Answer as the server is to fail; return whether it was to."""
        failing = self.server.failing
        if failing == "500":
            self.reply({"error": "broken"}, 500)
        elif failing == "hang":
            self.server.ended.wait()
        if failing in ("hang", "cut"):
            self.close_connection = True
        return bool(failing)

    def reply(self, content: Json, code: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on the console."""
