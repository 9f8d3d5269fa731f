// A fleet to be pictured: Redis, two servers, three workers, a Prometheus that scrapes them
// every other second, and callers and clients. Everything ends with this process.
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import WebSocket from 'ws'
import { program } from './programs.mjs'

const root = resolve(import.meta.dirname, '../..')
const json = { 'content-type': 'application/json' }

/** Starts everything; `outage(seconds)` takes Redis away and brings it back. */
export async function start() {
  const place = mkdtempSync(join(tmpdir(), 'pictures-'))
  const children = []
  const run = (path, args, { argv0, ...env } = {}) => {
    const child = spawn(path, args, {
      argv0,
      env: { PATH: process.env.PATH, HOME: place, ...env },
      stdio: ['ignore', 'ignore', 'inherit'],
    })
    child.on('error', (error) => {
      throw error
    })
    children.push(child)
    return child
  }
  let over = false
  const stop = () => {
    over = true
    for (const child of children) child.kill('SIGKILL')
    rmSync(place, { recursive: true, force: true, maxRetries: 10 })
  }
  process.on('exit', stop)
  process.on('SIGINT', () => process.exit(130))

  const port = await free()
  const redis = () =>
    run(
      program('redis'),
      [
        '--port',
        port,
        '--bind',
        '127.0.0.1',
        '--save',
        '',
        '--dir',
        place,
        '--appendonly',
        'yes',
        '--logfile',
        join(place, 'redis.log'),
      ],
      { argv0: 'redis-server' },
    )
  let store = redis()
  const daemon = async (name, more = {}) => {
    const admin = await free()
    run(join(root, 'target/debug', `trunkline-${name}`), [], {
      REDIS_URL: `redis://127.0.0.1:${port}`,
      TRUNKLINE_ADMIN_LISTEN: `127.0.0.1:${admin}`,
      TRUNKLINE_PROBE_INTERVAL: '5s',
      TRUNKLINE_SAMPLE_INTERVAL: '1s',
      TRUNKLINE_AUDIT_INTERVAL: '5s',
      RUST_LOG: 'off',
      ...more,
    })
    return admin
  }
  const servers = []
  for (let i = 0; i < 2; i++) {
    const at = await free()
    servers.push({
      url: `http://127.0.0.1:${at}`,
      admin: await daemon('server', { TRUNKLINE_LISTEN: `127.0.0.1:${at}` }),
    })
  }
  const workers = []
  for (let i = 0; i < 3; i++) workers.push(await daemon('worker'))

  const prometheus = await free()
  const job = (name, ports) => ({
    job_name: `trunkline-${name}`,
    static_configs: ports.map((port, at) => ({
      targets: [`127.0.0.1:${port}`],
      labels: { instance: `${name}-${at + 1}` },
    })),
  })
  writeFileSync(
    join(place, 'prometheus.yml'),
    JSON.stringify({
      // which is YAML
      global: { scrape_interval: '2s', scrape_timeout: '2s', evaluation_interval: '2s' },
      rule_files: [join(root, 'alerts/trunkline.*.yml')],
      scrape_configs: [
        job(
          'server',
          servers.map((it) => it.admin),
        ),
        job('worker', workers),
      ],
    }),
  )
  run(program('prometheus'), [
    '--config.file',
    join(place, 'prometheus.yml'),
    '--storage.tsdb.path',
    join(place, 'data'),
    `--web.listen-address=127.0.0.1:${prometheus}`,
    '--log.level=error',
  ])
  for (const server of servers) await until(`http://127.0.0.1:${server.admin}/readyz`)
  await until(`http://127.0.0.1:${prometheus}/-/ready`)

  await chains(servers[0].url)
  for (const { url } of servers) {
    for (let i = 0; i < 4; i++) listen(url, () => over)
    for (let i = 0; i < 3; i++) socket(url.replace('http', 'ws'), () => over)
  }
  speak(
    servers.map((it) => it.url),
    () => over,
  )
  return {
    prometheus: `http://127.0.0.1:${prometheus}`,
    stop,
    async outage(seconds) {
      store.kill('SIGKILL')
      await sleep(seconds * 1000)
      store = redis()
    },
  }
}

function free() {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address()
      server.close(() => resolve(port))
    })
  })
}

async function until(url) {
  for (let i = 0; i < 300; i++) {
    if (
      await fetch(url).then(
        (it) => it.ok,
        () => false,
      )
    )
      return
    await sleep(100)
  }
  throw new Error(`${url} does not become ready`)
}

async function chains(url) {
  const tell = (channel) => ({ id: 'tell', kind: 'action', notify: { channel, type: 'alert' } })
  const all = {
    overheat: {
      on: { type: 'temperature' },
      nodes: [
        { id: 'hot', kind: 'filter', when: 'event.data.celsius > 60.0', then: 'tell' },
        tell("'alerts.' + event.subject"),
      ],
    },
    pulse: { on: { type: 'pulse' }, nodes: [tell("'pulse'")] },
  }
  for (const [id, chain] of Object.entries(all)) {
    const answer = await fetch(`${url}/v1/rule-chains/${id}`, {
      method: 'PUT',
      headers: json,
      body: JSON.stringify(chain),
    })
    if (!answer.ok) throw new Error(await answer.text())
  }
}

async function listen(url, over) {
  while (!over()) {
    try {
      const stream = await fetch(`${url}/v1/stream?channel=alerts.*&channel=pulse`)
      const reader = stream.body.getReader()
      while (!(await reader.read()).done) if (over()) return
    } catch {
      await sleep(300)
    }
  }
}

function socket(url, over) {
  const one = new WebSocket(`${url}/v1/ws?channel=alerts.*&channel=news`)
  one.onclose = () => {
    if (!over()) setTimeout(socket, 500, url, over)
  }
  one.onerror = () => {}
}

/** Callers whose number goes up and down like a day. */
async function speak(urls, over) {
  const post = (path, body) =>
    fetch(`${urls[(Math.random() * urls.length) | 0]}${path}`, {
      method: 'POST',
      headers: json,
      body: JSON.stringify(body),
    }).then(
      (it) => it.arrayBuffer(),
      () => {},
    )
  const began = Date.now()
  for (let round = 0; !over(); round++) {
    const tide = 1.4 + Math.sin((Date.now() - began) / 25000)
    const subject = ['oven', 'attic', 'cellar'][round % 3]
    post('/v1/events', { type: 'temperature', subject, data: { celsius: 20 + Math.random() * 80 } })
    if (round % 2 === 0) post('/v1/events', { type: 'pulse', data: { round } })
    if (round % 3 === 0)
      post('/v1/notifications', { channel: 'news', data: 'x'.repeat(2 ** (Math.random() * 12)) })
    if (round % 40 === 0) post('/v1/notifications', { channel: 'nobody', data: 'hears' })
    if (round % 60 === 0) post('/v1/events', { type: 'pulse', id: 'again', source: '/twice' })
    await sleep(40 / tide)
  }
}
