// Draws every dashboard with Grafana's own panels, from a fleet that lives through an outage:
//
//   make pictures                             into target/pictures
//   node pictures.mjs --keep                  the same, and the fleet runs on until Ctrl-C
//   node pictures.mjs --prometheus URL        from a Prometheus that is there already
//   node pictures.mjs --docs                  those of the README too
import { build } from 'esbuild'
import { chromium } from 'playwright-core'
import sharp from 'sharp'
import { mkdirSync, readFileSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { filled } from './data.mjs'
import { start } from './fleet.mjs'
import { program } from './programs.mjs'

const root = resolve(import.meta.dirname, '../..')
const output = join(root, 'target/pictures')
const range = 240 // seconds
const { values: options } = parseArgs({
  options: { keep: { type: 'boolean' }, prometheus: { type: 'string' }, docs: { type: 'boolean' } },
})
/** What the README shows: the upper part of two of them. */
const inReadme = {
  'trunkline-connections': { file: 'connections.png', height: 1428 },
  'trunkline-queue': { file: 'queue.png', height: 1012 },
}

let prometheus = options.prometheus
if (!prometheus) {
  const fleet = await start()
  prometheus = fleet.prometheus
  console.log(`a fleet runs, and is asked at ${prometheus}; its pictures come in ${range} s`)
  await sleep(range * 0.6 * 1000)
  await fleet.outage(8)
  await sleep(range * 0.4 * 1000)
}

mkdirSync(output, { recursive: true })
const bundle = await build({
  entryPoints: [join(import.meta.dirname, 'board.jsx')],
  outfile: join(output, 'board.js'),
  bundle: true,
  format: 'iife',
  jsx: 'automatic',
  logLevel: 'error',
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' },
  loader: { '.svg': 'dataurl', '.woff': 'dataurl', '.woff2': 'dataurl', '.ttf': 'dataurl' },
  minify: true,
})
if (bundle.errors.length) process.exit(1)

const to = Math.floor(Date.now() / 1000) - 2
const instance = await server()
const browser = await chromium.launch({
  executablePath: program('chromium'),
  args: ['--no-sandbox', '--disable-gpu'],
})
for (const file of readdirSync(join(root, 'dashboards')).filter((it) => it.endsWith('.json'))) {
  const board = JSON.parse(readFileSync(join(root, 'dashboards', file)))
  const one = board.uid === 'trunkline-process' ? instance : undefined
  const data = await filled(board, prometheus, { from: to - range, to, instance: one })
  const page = await browser.newPage({ viewport: { width: 1500, height: 900 } })
  const complaints = new Set()
  page.on('pageerror', (error) => complaints.add(error.message))
  // A page with an origin: Grafana's parts keep settings in its storage.
  await page.route('http://board/', (route) =>
    route.fulfill({
      contentType: 'text/html',
      body: '<!doctype html><meta charset="utf-8"><div id="root"></div>',
    }),
  )
  await page.goto('http://board/')
  await page.addStyleTag({ path: join(output, 'board.css') })
  await page.evaluate((data) => {
    window.board = data
  }, data)
  await page.addScriptTag({ path: join(output, 'board.js') })
  await page.waitForSelector('[data-drawn]')
  await sleep(800) // the canvases
  const picture = await page.screenshot({ fullPage: true })
  await save(picture, join(output, file.replace('.json', '.png')))
  const shown = inReadme[board.uid]
  if (options.docs && shown)
    await save(
      await sharp(picture).extract({ left: 0, top: 0, width: 1500, height: shown.height }).png().toBuffer(),
      join(root, 'docs/pictures', shown.file),
    )
  await page.close()
  for (const complaint of complaints) console.error(`${file}: ${complaint}`)
}
await browser.close()
if (options.keep) await sleep(2 ** 31 - 1)
process.exit(0)

/** Few colours are enough, and a quarter of the bytes. */
async function save(picture, path) {
  await sharp(picture).png({ palette: true, colours: 128, effort: 10 }).toFile(path)
  console.log(path)
}

/** A server of the fleet, for the dashboard that shows one process. */
async function server() {
  const answer = await fetch(
    `${prometheus}/api/v1/query?query=${encodeURIComponent('up{job="trunkline-server"} == 1')}`,
  )
  return (await answer.json()).data.result[0]?.metric.instance
}
