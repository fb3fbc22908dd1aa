"""Does one task with confluent-kafka; the task comes as JSON on the standard input."""

import json
import sys
import time

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic


def produce(settings, task):
    failures = []
    producer = Producer(settings)
    for value in task["values"]:
        producer.produce(task["topic"], value, on_delivery=lambda error, _: error and failures.append(error))
    if producer.flush(60) or failures:
        sys.exit(f"not delivered: {failures}")


def consume(settings, task):
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
        print(message.value().decode())
        seen += 1
    consumer.commit(asynchronous=False)
    consumer.close()


def administer(settings, task):
    admin = AdminClient(settings)
    admin.create_topics([NewTopic(task["topic"], num_partitions=2)])[task["topic"]].result(60)
    for topic in admin.list_topics(timeout=60).topics:
        print(topic)


given = json.load(sys.stdin)
{"produce": produce, "consume": consume, "administer": administer}[given["task"]["do"]](given["settings"], given["task"])
