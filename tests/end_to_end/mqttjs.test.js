// Tests the broker with the client MQTT.js in 3.1.1 and 5. tests/end_to_end/run starts the broker, and passes its port in GOLDCREST_PORT.
"use strict";

const assert = require("node:assert/strict");
const { randomUUID } = require("node:crypto");
const { once } = require("node:events");
const { afterEach, test } = require("node:test");
const mqtt = require("mqtt");

const VERSIONS = { "MQTT 3.1.1": 4, "MQTT 5": 5 };
const LARGE = 1 << 20;
const BOUNDED = { timeout: 60_000 };
const url = `mqtt://127.0.0.1:${process.env.GOLDCREST_PORT}`;
assert(process.env.GOLDCREST_PORT, "start these tests by tests/end_to_end/run");

const unique = (prefix) => `${prefix}-${randomUUID().slice(0, 8)}`;

let open = [];
afterEach(async () => {
  await Promise.all(open.map((client) => client.endAsync(true)));
  open = [];
});

/** A connected client. `next()` waits for its next message, as { topic, payload, packet }. */
async function connect(protocolVersion, options = {}) {
  const client = mqtt.connect(url, { protocolVersion, reconnectPeriod: 0, ...options });
  open.push(client);
  const arrived = [];
  const waiting = [];
  client.on("message", (topic, payload, packet) => {
    const message = { topic, payload, packet };
    waiting.length ? waiting.shift()(message) : arrived.push(message);
  });
  client.next = () => (arrived.length ? arrived.shift() : new Promise((resolve) => waiting.push(resolve)));
  // This error is thrown outside of any promise, so that it fails the running test.
  client.on("close", () => {
    if (!client.disconnecting && !client.isExpectedToClose) throw new Error("the broker closed the connection");
  });
  [client.connack] = await once(client, "connect");
  return client;
}

/** Checks that no message is on its way to `subscriber`: a message that `publisher` sends now to `topic` must come first. */
async function assertNothingFor(subscriber, topic, publisher) {
  const marker = unique("marker");
  await publisher.publishAsync(topic, marker, { qos: 1 });
  assert.equal((await subscriber.next()).payload.toString(), marker);
}

/** Registers a test for each version of the protocol. */
function eachVersion(name, body) {
  for (const [version, level] of Object.entries(VERSIONS)) test(`${name} (${version})`, BOUNDED, () => body(level));
}

eachVersion("MQTT.js publishes and receives every QoS", async (version) => {
  const topic = unique("qos");
  const client = await connect(version);
  await client.subscribeAsync(topic, { qos: 2 });
  for (const qos of [0, 1, 2]) {
    await client.publishAsync(topic, String(qos), { qos });
    const { payload, packet } = await client.next();
    assert.deepEqual([payload.toString(), packet.qos, packet.dup], [String(qos), qos, false]);
  }
});

eachVersion("a burst of QoS 2 messages arrives once and in order", async (version) => {
  const topic = unique("burst");
  const client = await connect(version);
  await client.subscribeAsync(topic, { qos: 2 });
  const numbers = Array.from({ length: version === 5 ? 256 : 2000 }, (_, number) => String(number));
  await Promise.all(numbers.map((number) => client.publishAsync(topic, number, { qos: 2 })));
  for (const number of numbers) assert.equal((await client.next()).payload.toString(), number);
  await assertNothingFor(client, topic, client);
});

eachVersion("MQTT.js sets, replaces and clears a retained message", async (version) => {
  const topic = unique("retained");
  const publisher = await connect(version);
  await publisher.publishAsync(topic, "first", { qos: 1, retain: true });
  await publisher.publishAsync(topic, "second", { qos: 1, retain: true });
  const early = await connect(version);
  await early.subscribeAsync(topic, { qos: 1 });
  const { payload, packet } = await early.next();
  assert.deepEqual([payload.toString(), packet.retain], ["second", true]);
  await publisher.publishAsync(topic, "", { qos: 1, retain: true });
  const late = await connect(version);
  await late.subscribeAsync(topic, { qos: 1 });
  await assertNothingFor(late, topic, publisher);
});

test("MQTT.js uses Retain Handling and Retain As Published", BOUNDED, async () => {
  const topic = unique("handling");
  const publisher = await connect(5);
  await publisher.publishAsync(topic, "kept", { qos: 1, retain: true });
  const subscriber = await connect(5);
  await subscriber.subscribeAsync(topic, { qos: 1, rh: 2 });
  await subscriber.subscribeAsync(topic, { qos: 1, rh: 1 });
  await assertNothingFor(subscriber, topic, publisher);
  await subscriber.subscribeAsync(topic, { qos: 1, rh: 0, rap: true });
  assert.equal((await subscriber.next()).payload.toString(), "kept");
  await publisher.publishAsync(topic, "new", { qos: 1, retain: true });
  assert.equal((await subscriber.next()).packet.retain, true);
});

test("with No Local a client does not get its own messages", BOUNDED, async () => {
  const topic = unique("local");
  const [deaf, other] = [await connect(5), await connect(5)];
  await deaf.subscribeAsync(topic, { qos: 1, nl: true });
  await deaf.publishAsync(topic, "own", { qos: 1 });
  await assertNothingFor(deaf, topic, other);
});

eachVersion("the Will of a lost connection is published", async (version) => {
  const topic = unique("will");
  const watcher = await connect(version);
  await watcher.subscribeAsync(topic, { qos: 2 });
  const lost = await connect(version, { will: { topic, payload: Buffer.from("gone"), qos: 2, retain: false } });
  lost.isExpectedToClose = true;
  lost.stream.destroy();
  const { payload, packet } = await watcher.next();
  assert.deepEqual([payload.toString(), packet.qos], ["gone", 2]);
});

eachVersion("messages wait in order for an absent Session", async (version) => {
  const topic = unique("resume");
  const options = { clientId: unique("c"), clean: false };
  if (version === 5) options.properties = { sessionExpiryInterval: 300 };
  const first = await connect(version, options);
  assert.equal(first.connack.sessionPresent, false);
  await first.subscribeAsync(topic, { qos: 2 });
  await first.endAsync();
  const publisher = await connect(version);
  for (const qos of [1, 2]) await publisher.publishAsync(topic, String(qos), { qos });
  const again = await connect(version, options);
  assert.equal(again.connack.sessionPresent, true);
  for (const qos of [1, 2]) {
    const { payload, packet } = await again.next();
    assert.deepEqual([payload.toString(), packet.qos], [String(qos), qos]);
  }
  await assertNothingFor(again, topic, publisher);
});

test("each message of a shared subscription goes to one member", BOUNDED, async () => {
  const [topic, group] = [unique("shared"), unique("g")];
  const members = [await connect(5), await connect(4)];
  for (const member of members) await member.subscribeAsync(`$share/${group}/${topic}`, { qos: 1 });
  const publisher = await connect(5);
  const sent = Array.from({ length: 100 }, (_, number) => String(number).padStart(3, "0"));
  for (const payload of sent) await publisher.publishAsync(topic, payload, { qos: 1 });
  const received = [];
  for (const member of members) {
    for (let count = 0; count < 50; count++) received.push((await member.next()).payload.toString());
  }
  assert.deepEqual(received.sort(), sent);
});

eachVersion("a payload of a mebibyte arrives unchanged", async (version) => {
  const topic = unique("large");
  const client = await connect(version);
  await client.subscribeAsync(topic, { qos: 2 });
  const sent = Buffer.alloc(LARGE, "goldcrest");
  for (const qos of [0, 1, 2]) {
    await client.publishAsync(topic, sent, { qos });
    assert.equal(sent.compare((await client.next()).payload), 0);
  }
});

for (const automatic of ["autoUseTopicAlias", "autoAssignTopicAlias"]) {
  test(`Topic Aliases are used both ways with ${automatic}`, BOUNDED, async () => {
    const prefix = unique("alias");
    const subscriber = await connect(5, { properties: { topicAliasMaximum: 3 } });
    const aliased = [];
    subscriber.on("packetreceive", (packet) => {
      if (packet.cmd === "publish") aliased.push(packet.properties?.topicAlias !== undefined);
    });
    await subscriber.subscribeAsync(`${prefix}/#`, { qos: 1 });
    const publisher = await connect(5, { [automatic]: true });
    const maximum = publisher.connack.properties.topicAliasMaximum;
    assert(maximum >= 1);
    // There are more topics than aliases, so that aliases are given to other topics.
    const topics = Array.from({ length: maximum + 5 }, (_, number) => `${prefix}/${number}`);
    for (let round = 0; round < 3; round++) {
      for (const topic of topics) {
        // With autoUseTopicAlias the program must choose the first alias of a topic.
        const alias = 1 + (topics.indexOf(topic) % maximum);
        const properties = automatic === "autoUseTopicAlias" ? { topicAlias: alias } : undefined;
        await publisher.publishAsync(topic, topic, { qos: 1, properties });
      }
    }
    for (let round = 0; round < 3; round++) {
      for (const topic of topics) {
        const message = await subscriber.next();
        assert.deepEqual([message.topic, message.payload.toString()], [topic, topic]);
      }
    }
    assert(aliased.includes(true), "the broker uses aliases too");
  });
}

test("User Properties in order, Correlation Data and Response Topic arrive unchanged", BOUNDED, async () => {
  const topic = unique("properties");
  const client = await connect(5);
  await client.subscribeAsync(topic, { qos: 1, properties: { subscriptionIdentifier: 268435455 } });
  const userProperties = { z: "1", a: ["2", "3"], m: "4" };
  const properties = { userProperties, correlationData: Buffer.from([0, 255]), responseTopic: "r", contentType: "t" };
  await client.publishAsync(topic, "x", { qos: 1, properties });
  const given = (await client.next()).packet.properties;
  assert.equal(JSON.stringify(given.userProperties), JSON.stringify(userProperties));
  assert.deepEqual(given.correlationData, properties.correlationData);
  assert.deepEqual([given.responseTopic, given.contentType, given.subscriptionIdentifier], ["r", "t", 268435455]);
});

test("the broker keeps to a client's Receive Maximum", BOUNDED, async () => {
  const topic = unique("receive-maximum");
  const slow = await connect(5, {
    properties: { receiveMaximum: 2 },
    customHandleAcks: (_topic, _payload, _packet, done) => held.push(done),
  });
  const held = [];
  await slow.subscribeAsync(topic, { qos: 1 });
  const publisher = await connect(5);
  for (let number = 0; number < 6; number++) await publisher.publishAsync(topic, String(number), { qos: 1 });
  const seen = [];
  slow.on("packetreceive", (packet) => packet.cmd === "publish" && seen.push(packet.payload.toString()));
  while (held.length === 0) await once(slow, "packetreceive");
  for (let number = 0; number < 6; number++) {
    while (held.length === 0) await new Promise(setImmediate);
    assert(held.length <= 2);
    held.shift()(0);
    assert.equal((await slow.next()).payload.toString(), String(number));
  }
});
