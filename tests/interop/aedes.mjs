// aedes, an MQTT broker in JavaScript: node aedes.mjs PORT FILE, in the folder where npm has installed it.
//
// Every message is a line of JSON in FILE, with its topic, before it is acknowledged. It prints its version,
// then `ready`, and ends with its standard input.
import fs from 'node:fs'
import net from 'node:net'
import { createRequire } from 'node:module'

const require = createRequire(process.cwd() + '/')
const { Aedes } = require('aedes')
const version = JSON.parse(fs.readFileSync('node_modules/aedes/package.json')).version
const [port, file] = [Number(process.argv[2]), process.argv[3]]

const broker = await Aedes.createBroker({
  authorizePublish (client, packet, done) {
    const line = { topic: packet.topic, retain: packet.retain, payload: packet.payload.toString('latin1') }
    fs.appendFileSync(file, JSON.stringify(line) + '\n')
    done(null)
  }
})
net.createServer(broker.handle).listen(port, '127.0.0.1', () => {
  console.log(`aedes ${version}`)
  console.log('ready')
})
process.stdin.on('end', () => process.exit(0)).resume()
