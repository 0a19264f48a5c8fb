// Runs one command after the other of Heroku's own command line in one process. All of it is as it came but bin/run.js,
// which does for each what is done here once: to load takes more than a second of one core.
//
// A request is a line of JSON on the descriptor named first, {"arguments": [...], "env": {...}}; the answer is one on the
// descriptor named second, {"stdout": "...", "stderr": "...", "status": 0}.

import {createReadStream, writeSync} from 'node:fs'
import {createRequire} from 'node:module'
import {createInterface} from 'node:readline'
import {fileURLToPath} from 'node:url'

class Exit extends Error {}

const said = {stdout: '', stderr: ''}
let status

// Before anything of it is loaded: it keeps what it finds here.
for (const name of Object.keys(said)) {
  process[name].write = (data, encoding, done) => {
    said[name] += typeof data === 'string' ? data : Buffer.from(data).toString()
    const then = typeof encoding === 'function' ? encoding : done
    then?.()
    return true
  }
}

process.exit = code => {
  status ??= code ?? 0
  throw new Exit(`exit ${status}`)
}

const at = path => fileURLToPath(new URL(`node_modules/${path}`, import.meta.url))
const root = at('heroku/package.json')
const load = createRequire(root)
const {flush, run} = load('@oclif/core')
const handling = load(at('@oclif/core/lib/errors/handle.js'))
handling.Exit.exit = code => {
  status ??= code ?? 0
}

async function command(argv) {
  said.stdout = said.stderr = ''
  status = process.exitCode = undefined
  try {
    await run(argv, root)
    await flush()
  } catch (error) {
    if (!(error instanceof Exit)) await handling.handle(error)
  }
  return {...said, status: status ?? process.exitCode ?? 0}
}

const [requests, answers] = process.argv.slice(2).map(Number)
for await (const line of createInterface({input: createReadStream(null, {fd: requests})})) {
  const request = JSON.parse(line)
  Object.assign(process.env, request.env)
  writeSync(answers, JSON.stringify(await command(request.arguments)) + '\n')
}
