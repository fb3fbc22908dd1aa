"""A schema registry for the tests: as much of Confluent's REST API as serializers and the gateway use, in memory.

Reads one line of JSON from the standard input (`username`, `password`), prints `port N`, and serves:

    POST /subjects/{subject}/versions             keeps a schema; its id
    POST /subjects/{subject}                      the id and version of one that is kept
    GET  /subjects/{subject}/versions/{version}   what was kept
    GET  /schemas/ids/{id}                        the same by its id; Protobuf as what was registered
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

    def do_GET(self):
        parts = self.path_parts()
        if parts == ["asked"]:
            return self.answer(200, asked)
        if not self.may():
            return None
        if self.headers.get("User-Agent", "").startswith("tidegate/"):
            asked.append(self.path)
        if parts[:2] == ["schemas", "ids"] and parts[2].isdigit() and 0 < int(parts[2]) <= len(schemas):
            return self.answer(200, schemas[int(parts[2]) - 1])
        if parts[0] == "subjects" and len(parts) == 4 and parts[1] in subjects:
            versions = subjects[parts[1]]
            version = len(versions) if parts[3] == "latest" else int(parts[3])
            id = versions[version - 1]
            return self.answer(200, schemas[id - 1] | {"subject": parts[1], "version": version, "id": id})
        return self.answer(404, {"error_code": 40403, "message": "not found"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.may():
            return None
        kept = {key: body[key] for key in ("schema", "schemaType", "references") if body.get(key)}
        if kept not in schemas:
            schemas.append(kept)
        id = schemas.index(kept) + 1
        versions = subjects.setdefault(self.path_parts()[1], [])
        if id not in versions:
            versions.append(id)
        return self.answer(200, {"id": id, "version": versions.index(id) + 1, "subject": self.path_parts()[1]} | kept)


server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
print(f"port {server.server_port}", flush=True)
server.serve_forever()
