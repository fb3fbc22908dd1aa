"""Makes `ocsf-1.8.0.json`: of the published OCSF schema what exported events are checked against.

    pip download --no-deps ocsf-json-schema==1.2.0 && unzip ocsf_json_schema-*.whl
    python3 extract.py ocsf_json_schema/ocsf/1.8.0.json > ocsf-1.8.0.json

That package carries the compiled schema as schema.ocsf.io gives it. Kept are the classes and objects that
Tidegate emits, with the attributes of the profiles it claims: name, base type, whether it is required or a list, the
object's name, and the values of enumerations.
"""

import json
import sys

CLASSES = ["authentication", "entity_management", "application_lifecycle", "api_activity", "datastore_activity"]
OBJECTS = [
    "actor", "api", "classifier_details", "data_classification", "discovery_details", "group", "managed_entity",
    "metadata", "network_endpoint", "product", "resource_details", "service", "session", "table", "user",
]
PROFILES = {"security_control", "data_classification"}

schema = json.load(open(sys.argv[1]))
types = schema["dictionary"]["types"]["attributes"]


def attribute(details):
    kind = details["type"]
    kept = {"type": types.get(kind, {}).get("type", kind).removesuffix("_t")}
    if kind == "object_t":
        kept = {"object": details["object_type"]}
    if details.get("requirement") == "required":
        kept["required"] = True
    if details.get("is_array"):
        kept["list"] = True
    if "enum" in details:
        kept["enum"] = sorted(details["enum"], key=lambda value: (len(value), value))
    return kept


def part(details):
    of_profiles = lambda one: not one.get("profiles") or PROFILES & set(one["profiles"])
    attributes = {name: attribute(one) for name, one in sorted(details["attributes"].items()) if of_profiles(one)}
    kept = {"attributes": attributes}
    for name in ("at_least_one", "just_one"):
        if name in details.get("constraints", {}):
            kept[name] = details["constraints"][name]
    return kept


out = {
    "source": "OCSF schema, Apache-2.0, https://schema.ocsf.io/1.8.0, from PyPI's ocsf-json-schema 1.2.0; see extract.py",
    "version": schema["version"],
    "profiles": sorted(PROFILES),
    "classes": {str(schema["classes"][name]["uid"]): part(schema["classes"][name]) for name in CLASSES},
    "objects": {name: part(schema["objects"][name]) for name in OBJECTS},
}
# A line an attribute, so that changes can be read.
text = json.dumps(out, indent=1)
sys.stdout.write(text.replace("\n     ", " ").replace("\n    }", " }") + "\n")
