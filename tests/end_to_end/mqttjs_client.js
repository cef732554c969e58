// The client MQTT.js as a program, for the matrix of clients: mqttjs_client.js pub|sub VERSION PORT NAME.
"use strict";

const mqtt = require("mqtt");

const VERSIONS = {
  "3.1": { protocolId: "MQIsdp", protocolVersion: 3 },
  "3.1.1": { protocolVersion: 4 },
  5: { protocolVersion: 5 },
};

async function main([command, version, port, name]) {
  const client = await mqtt.connectAsync(`mqtt://127.0.0.1:${port}`, { ...VERSIONS[version], reconnectPeriod: 0 });
  if (command === "pub") {
    for (let granted = 0; granted < 3; granted++) {
      for (let qos = 0; qos < 3; qos++) {
        await client.publishAsync(`q${granted}/${name}/${qos}`, name, { qos });
      }
    }
    await client.endAsync();
  } else {
    client.on("message", (topic, payload, packet) => console.log(topic, packet.qos, payload.toString()));
    for (let granted = 0; granted < 3; granted++) {
      await client.subscribeAsync(`q${granted}/#`, { qos: granted });
    }
  }
}

main(process.argv.slice(2));
