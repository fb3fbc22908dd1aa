// Does one task with kafkajs; the task comes as JSON on the standard input.
const fs = require("node:fs");
const { Kafka, logLevel } = require("kafkajs");

const { brokers, ca, login, task } = JSON.parse(fs.readFileSync(0, "utf8"));

async function token() {
  const answer = await fetch(login.tokenEndpoint, {
    method: "POST",
    headers: { authorization: "Basic " + Buffer.from(`${login.id}:${login.secret}`).toString("base64") },
    body: new URLSearchParams({ grant_type: "client_credentials" }),
  });
  return { value: (await answer.json()).access_token };
}

const kafka = new Kafka({
  brokers,
  logLevel: logLevel.ERROR,
  logCreator: () => (entry) => console.error(JSON.stringify(entry.log)),
  ssl: ca ? { ca: [fs.readFileSync(ca)] } : false,
  sasl: login.username
    ? { mechanism: "plain", username: login.username, password: login.password }
    : { mechanism: "oauthbearer", oauthBearerProvider: token },
});

const tasks = {
  async produce() {
    const producer = kafka.producer();
    await producer.connect();
    await producer.send({ topic: task.topic, messages: task.values.map((value) => ({ value })) });
    await producer.disconnect();
  },

  async consume() {
    const consumer = kafka.consumer({ groupId: task.group });
    await consumer.connect();
    await consumer.subscribe({ topic: task.topic, fromBeginning: true });
    let seen = 0;
    await new Promise((done, failed) => {
      consumer.on(consumer.events.CRASH, (event) => failed(event.payload.error));
      consumer.run({
        eachMessage: async ({ message }) => {
          if (seen < task.count) console.log(message.value.toString());
          if (++seen === task.count) done();
        },
      });
    });
    await consumer.disconnect();
  },

  async administer() {
    const admin = kafka.admin();
    await admin.connect();
    await admin.createTopics({ topics: [{ topic: task.topic, numPartitions: 2 }], waitForLeaders: true });
    for (const topic of await admin.listTopics()) console.log(topic);
    await admin.disconnect();
  },
};

tasks[task.do]().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
