"""A schema registry for the tests: as much of Confluent's REST API as serializers and the gateway use, in memory.

Reads one line of JSON from the standard input, prints `port N`, and serves what follows. Given are `username` and
`password`, `subjects` that are there from the start with their schemas, and `texts`: what becomes by subject of a
descriptor that a client registered, as Confluent's registry makes a text of it.

    POST /subjects/{subject}/versions             keeps a schema; its id
    POST /subjects/{subject}                      the id and version of one that is kept
    GET  /subjects/{subject}/versions/{version}   what was kept
    GET  /schemas/ids/{id}                        the same by its id; with `format=serialized` the descriptor
    GET  /asked                                   the paths that were asked for with the gateway's user agent
"""

import base64
import json
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

given = json.loads(sys.stdin.readline())
schemas = []
subjects = {}
asked = []
texts = {}


def keep(subject, kept):
    """Keeps a schema; its id and version."""
    if kept not in schemas:
        schemas.append(kept)
    id = schemas.index(kept) + 1
    if subject in given.get("texts", {}):
        texts[id] = given["texts"][subject]
    versions = subjects.setdefault(subject, [])
    if id not in versions:
        versions.append(id)
    return id, versions.index(id) + 1


class Registry(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        body = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def may(self):
        expected = base64.b64encode(f"{given['username']}:{given['password']}".encode()).decode()
        if self.headers.get("Authorization") == f"Basic {expected}":
            return True
        self.answer(401, {"error_code": 401, "message": "who are you?"})
        return False

    def path_parts(self):
        return [urllib.parse.unquote(part) for part in urllib.parse.urlparse(self.path).path.strip("/").split("/")]

    def kept(self, id):
        kept = schemas[id - 1]
        return kept if "format=serialized" in self.path else kept | texts.get(id, {})

    def do_GET(self):
        parts = self.path_parts()
        if parts == ["asked"]:
            return self.answer(200, asked)
        if not self.may():
            return None
        if self.headers.get("User-Agent", "").startswith("tidegate/"):
            asked.append(self.path)
        if parts[:2] == ["schemas", "ids"] and parts[2].isdigit() and 0 < int(parts[2]) <= len(schemas):
            return self.answer(200, self.kept(int(parts[2])))
        if parts[0] == "subjects" and len(parts) == 4 and parts[1] in subjects:
            versions = subjects[parts[1]]
            version = len(versions) if parts[3] == "latest" else int(parts[3])
            id = versions[version - 1]
            return self.answer(200, self.kept(id) | {"subject": parts[1], "version": version, "id": id})
        return self.answer(404, {"error_code": 40403, "message": "not found"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.may():
            return None
        kept = {key: body[key] for key in ("schema", "schemaType", "references") if body.get(key)}
        subject = self.path_parts()[1]
        id, version = keep(subject, kept)
        return self.answer(200, {"id": id, "version": version, "subject": subject} | kept)


for subject, kept in given.get("subjects", {}).items():
    keep(subject, kept)
server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
print(f"port {server.server_port}", flush=True)
server.serve_forever()
