// The client MQTT.js as a program, for the matrix of clients: mqttjs_client.js pub|sub VERSION URL NAME [CA [CERTIFICATE KEY]].
"use strict";

const fs = require("fs");
const mqtt = require("mqtt");

const VERSIONS = {
  "3.1": { protocolId: "MQIsdp", protocolVersion: 3 },
  "3.1.1": { protocolVersion: 4 },
  5: { protocolVersion: 5 },
};

async function main([command, version, url, name, ...files]) {
  const [ca, cert, key] = files.map((file) => fs.readFileSync(file));
  const client = await mqtt.connectAsync(url, { ...VERSIONS[version], ca, cert, key, reconnectPeriod: 0 });
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
