#!/usr/bin/env node
// Runs the broker aedes on a port of this machine, in memory.
import { createServer } from 'node:net'
import { Aedes } from 'aedes'

// `concurrency` is the number of messages that are delivered at the same time: enough for each publisher's window.
const broker = await Aedes.createBroker({ concurrency: 10_000, maxInflightInbound: 0 })
createServer({ noDelay: true }, broker.handle).listen(Number(process.argv[2]), '127.0.0.1')
