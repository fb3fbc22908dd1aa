"""Produces and consumes with confluent-kafka's own serializers; the task comes as JSON on the standard input."""

import json
import sys
import time

from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.serialization import MessageField, SerializationContext


def avro(registry, schema):
    from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer

    return AvroSerializer(registry, schema), AvroDeserializer(registry, schema)


def json_schema(registry, schema):
    from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer

    return JSONSerializer(schema, registry), JSONDeserializer(schema, schema_registry_client=registry)


def protobuf(registry, schema):
    import base64

    from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
    from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

    file = descriptor_pb2.FileDescriptorProto.FromString(base64.b64decode(schema))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    name = f"{file.package}.{file.message_type[-1].name}"
    of = message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
    settings = {"use.deprecated.format": False}
    serializer, deserializer = ProtobufSerializer(of, registry, settings), ProtobufDeserializer(of, settings, registry)
    return (
        lambda value, context: serializer(json_format.ParseDict(value, of()), context),
        lambda value, context: json_format.MessageToDict(deserializer(value, context), preserving_proto_field_name=True),
    )


def plain(value):
    """What JSON can say of a value."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return value if isinstance(value, (str, int, float, bool, list, dict)) or value is None else str(value)


given = json.load(sys.stdin)
settings, task = given["settings"], given["task"]
registry = SchemaRegistryClient({"url": task["registry"], "basic.auth.user.info": task["login"]})
serializer, deserializer = {"avro": avro, "json": json_schema, "protobuf": protobuf}[task["format"]](registry, task["schema"])
context = SerializationContext(task["topic"], MessageField.VALUE)

if task["do"] == "produce":
    failures = []
    producer = Producer(settings)
    for value in task["values"]:
        producer.produce(task["topic"], serializer(value, context), on_delivery=lambda error, _: error and failures.append(error))
    if producer.flush(60) or failures:
        sys.exit(f"not delivered: {failures}")
else:
    consumer = Consumer(settings | {"group.id": task["group"], "auto.offset.reset": "earliest"})
    consumer.subscribe([task["topic"]])
    deadline = time.monotonic() + 60
    seen = 0
    while seen < task["count"]:
        if time.monotonic() > deadline:
            sys.exit(f"only {seen} messages")
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            print(message.error(), file=sys.stderr)
            continue
        print(json.dumps(deserializer(message.value(), context), default=plain))
        seen += 1
    consumer.close()
